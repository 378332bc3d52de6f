"""Rotations are held to the overlap rule, whatever the key set says; a revoked key is gone at once."""

import pytest

from breakwater.chassis import metrics
from breakwater.chassis.auth import (
    KeySource,
    OverlapRule,
    Rotation,
    ServiceSigner,
    ServiceVerifier,
    TokenRefusedError,
    preparse,
)
from tests.support.tokens import Key, write_jwks

RULE = OverlapRule(cache_s=60, token_s=300, skew_s=5)

pytestmark = pytest.mark.capability(36)


class Parties:
    """gateway signs, files verifies, both read one key set."""

    def __init__(self, folder, clock):
        self.jwks, self.key_file, self.clock = folder / "jwks.json", folder / "key.jwk", clock
        self.key, self.next_key = Key("gateway"), Key("gateway")

    async def start(self):
        self.publish(self.key)
        self.key.write(self.key_file)
        self.source = KeySource(str(self.jwks), production=False, clock=self.clock, rule=RULE)
        await self.source.start()
        self.verifier = ServiceVerifier(self.source, "files", clock=self.clock)
        self.signer = ServiceSigner(self.key_file, "gateway", production=False, published=self.source, clock=self.clock)
        return self

    def publish(self, *keys, revoked=()):
        write_jwks(self.jwks, *keys, revoked=revoked)

    async def look(self):
        """What a refresh does."""
        await self.source._look_again()

    def signs_with(self):
        return preparse.parse(self.signer.token_for("files")).kid

    async def accepts(self, token):
        try:
            await self.verifier.verify(token)
        except TokenRefusedError:
            return False
        return True


@pytest.fixture
async def parties(tmp_path, clock):
    return await Parties(tmp_path, clock).start()


@pytest.mark.parametrize(
    ("rotation", "problems"),
    [
        (Rotation(0, 60, 365), 0),
        (Rotation(0, 59, 400), 1),
        (Rotation(0, 60, 364), 1),
        (Rotation(0, 0, 0), 2),
        (Rotation(100, 50, 500), 1),
    ],
)
def test_the_rule_names_each_way_in_which_a_rotation_breaks_it(rotation, problems):
    """Cache life before the new key signs, token life and skew after the old one did."""
    assert len(RULE.problems(rotation)) == problems
    assert RULE.overlap_s == 365


async def test_a_new_key_does_not_sign_before_every_verifier_can_know_it(parties, clock):
    """Replaced in one go, the old key signs on for a cache life."""
    parties.publish(parties.key, parties.next_key)
    parties.next_key.write(parties.key_file)
    await parties.look()
    assert parties.signs_with() == parties.key.kid
    await clock.advance(241)
    assert parties.signs_with() == parties.next_key.kid


async def test_a_key_that_is_not_published_never_signs(parties, clock):
    """Nobody could verify it: the old one signs on."""
    parties.next_key.write(parties.key_file)
    await clock.advance(3_600)
    assert parties.signs_with() == parties.key.kid


async def test_a_key_withdrawn_too_early_is_kept_with_an_alarm_until_its_tokens_have_ended(parties, clock):
    """The set drops the key that still signs: its tokens stay valid, and on-call is told."""
    token = parties.signer.token_for("files")
    parties.publish(parties.next_key)
    await parties.look()
    early = metrics.JWKS_WITHDRAWN_EARLY.labels(str(parties.jwks))
    assert await parties.accepts(token)
    assert early._value.get() == 1
    await clock.advance(RULE.kept_s)
    await parties.look()
    assert not await parties.accepts(token)
    assert not parties.source.is_good(parties.key.kid)
    assert early._value.get() == 0


async def test_a_rotation_by_the_rule_raises_no_alarm(parties, clock):
    """Published, then signing, then the old one withdrawn, each in its time."""
    parties.publish(parties.key, parties.next_key)
    await parties.look()
    await clock.advance(RULE.cache_s)
    parties.next_key.write(parties.key_file)
    await clock.advance(RULE.token_s + RULE.skew_s)
    parties.publish(parties.next_key)
    await parties.look()
    assert metrics.JWKS_WITHDRAWN_EARLY.labels(str(parties.jwks))._value.get() == 0
    assert await parties.accepts(parties.signer.token_for("files"))


async def test_a_revoked_key_is_gone_at_once(parties):
    """A stolen key is no matter of overlap: its tokens are refused and its owner signs with the next."""
    token = parties.signer.token_for("files")
    parties.publish(parties.next_key, revoked=(parties.key,))
    parties.next_key.write(parties.key_file)
    await parties.look()
    assert not await parties.accepts(token)
    parties.signer._tokens.clear()
    assert parties.signs_with() == parties.next_key.kid


async def test_without_the_rule_a_withdrawn_key_is_gone(parties, clock):
    """The issuer of callers' tokens withdraws when it means to."""
    source = KeySource(str(parties.jwks), production=False, clock=clock)
    await source.start()
    parties.publish(parties.next_key)
    await source._look_again()
    assert not source.is_good(parties.key.kid)


@pytest.mark.parametrize("revoked", ['"key"', "[1]", "{}"])
async def test_a_malformed_revocation_leaves_the_last_good_set(parties, revoked):
    """A set is taken whole or not at all."""
    parties.jwks.write_text(parties.jwks.read_text().replace('"revoked": []', f'"revoked": {revoked}'))
    await parties.look()
    assert parties.source.stale
    assert parties.source.is_good(parties.key.kid)
