"""Where public keys come from, how they rotate, and what a process signs with."""

import json

import pytest

from breakwater.chassis import metrics
from breakwater.chassis.auth import (
    DevelopmentKeyError,
    KeySetError,
    KeySource,
    ServiceSigner,
    ServiceVerifier,
    TokenRefusedError,
    preparse,
)
from breakwater.chassis.auth.keys import parse_key_set
from breakwater.chassis.settings import SecretFileError
from tests.support.tokens import Key, write_jwks


@pytest.fixture
def key():
    return Key("gateway")


@pytest.fixture
def jwks(tmp_path):
    return tmp_path / "jwks.json"


async def source_of(path, clock, **options):
    source = KeySource(str(path), production=False, clock=clock, **options)
    await source.start()
    return source


async def test_a_rotated_key_is_accepted_in_the_overlap_and_the_old_one_until_it_is_withdrawn(
    tmp_path, jwks, key, clock
):
    """Publish the next key, switch the signer, withdraw the old key: no valid token is ever refused."""
    source = await source_of(write_jwks(jwks, key), clock)
    verifier = ServiceVerifier(source, "files", clock=clock)
    key_file = key.write(tmp_path / "key.jwk")
    signer = ServiceSigner(key_file, "gateway", production=False, clock=clock)
    old_token = signer.token_for("files")
    assert await verifier.verify(old_token) == "gateway"

    next_key = Key("gateway")
    write_jwks(jwks, key, next_key)
    next_key.write(key_file)
    await clock.advance(241)
    new_token = signer.token_for("files")
    assert preparse.parse(new_token).kid == next_key.kid
    assert await verifier.verify(new_token) == "gateway"
    assert await verifier.verify(old_token) == "gateway"

    write_jwks(jwks, next_key)
    with pytest.raises(TokenRefusedError):
        await verifier.verify(key.token({"alg": "Ed25519", "kid": "unknown", "typ": "JWT"}, {}))
    await clock.advance(5)
    with pytest.raises(TokenRefusedError):
        await verifier.verify(key.token({"alg": "Ed25519", "kid": "unknown", "typ": "JWT"}, {}))
    with pytest.raises(TokenRefusedError):
        await verifier.verify(old_token)
    assert await verifier.verify(new_token) == "gateway"


async def test_unknown_key_ids_make_the_source_look_again_at_most_every_few_seconds(jwks, key, clock):
    """A flood of made-up key ids reads the file once."""
    source = await source_of(write_jwks(jwks, key), clock)
    reads = 0
    read = source._read

    async def counted():
        nonlocal reads
        reads += 1
        return await read()

    source._read = counted
    await clock.advance(10)
    for number in range(50):
        assert await source.find(f"made-up-{number}") is None
    assert reads == 1
    await clock.advance(5)
    assert await source.find("made-up") is None
    assert reads == 2


@pytest.mark.parametrize("content", [b"", b"{", b'{"keys": []}', b'{"keys": 1}', b"x" * 300_000, None])
async def test_the_last_good_set_is_kept_with_an_alarm(jwks, key, clock, content):
    """An unreachable or broken source changes nothing but the alarm, which ends when it is back."""
    source = await source_of(write_jwks(jwks, key), clock)
    stale = metrics.JWKS_STALE.labels(str(jwks))
    assert not source.stale
    jwks.unlink() if content is None else jwks.write_bytes(content)
    await clock.advance(10)
    assert await source.find("unknown") is None
    assert (await source.find(key.kid)).kid == key.kid
    assert source.stale
    assert stale._value.get() == 1
    write_jwks(jwks, key)
    await clock.advance(10)
    await source.find("unknown")
    assert not source.stale
    assert stale._value.get() == 0


async def test_a_process_starts_without_its_key_source_and_takes_it_when_it_comes(jwks, key, clock):
    """Nobody is let in until then."""
    source = await source_of(jwks, clock)
    assert source.stale
    assert await source.find(key.kid) is None
    write_jwks(jwks, key)
    await clock.advance(10)
    assert (await source.find(key.kid)).owner == "gateway"


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda one, two: [one.jwk], "private key"),
        (lambda one, two: [one.public, two.public | {"kid": one.kid}], "twice"),
        (lambda one, two: [one.public | {"x": "AAAA"}], "cannot be read"),
        (lambda one, two: [one.public | {"kid": 7}], "not a text"),
        (lambda one, two: [one.public | {"crv": "Ed448"}], "no Ed25519 key"),
        (lambda one, two: [one.public] * 65, "more than 64"),
        (lambda one, two: ["key"], "not a JWKS"),
    ],
)
def test_a_key_set_is_taken_whole_or_not_at_all(key, spoil, problem):
    """One bad entry makes the set unusable; the message names what is wrong."""
    with pytest.raises(KeySetError, match=problem):
        parse_key_set(json.dumps({"keys": spoil(key, Key("leads"))}).encode(), production=False)


def test_keys_of_other_kinds_are_passed_over(key):
    """A callers' issuer may publish RSA keys beside (RFC 7517 5)."""
    keys = [{"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"}, key.public]
    assert list(parse_key_set(json.dumps({"keys": keys}).encode(), production=False)) == [key.kid]


async def test_a_development_key_is_refused_in_production(tmp_path, jwks, key, clock):
    """Neither trusted nor signed with; a production key is both."""
    write_jwks(jwks, key)
    with pytest.raises(DevelopmentKeyError):
        await KeySource(str(jwks), production=True, clock=clock).start()
    with pytest.raises(DevelopmentKeyError):
        ServiceSigner(key.write(tmp_path / "key.jwk"), "gateway", production=True)
    real = Key("gateway", development=False)
    await KeySource(str(write_jwks(jwks, real)), production=True, clock=clock).start()
    assert ServiceSigner(real.write(tmp_path / "real.jwk"), "gateway", production=True).token_for("files")


async def test_a_development_key_that_appears_later_in_production_leaves_the_old_set(jwks, clock):
    """The running process keeps what it has and raises the alarm."""
    real = Key("gateway", development=False)
    source = KeySource(str(write_jwks(jwks, real)), production=True, clock=clock)
    await source.start()
    intruder = Key("leads")
    write_jwks(jwks, real, intruder)
    await clock.advance(10)
    assert await source.find(intruder.kid) is None
    assert source.stale
    assert await source.find(real.kid) is not None


async def test_a_signer_gives_the_same_token_until_a_minute_before_its_end(tmp_path, key, clock):
    """Signing costs as much as verifying; a token is renewed while the old one is still good."""
    signer = ServiceSigner(key.write(tmp_path / "key.jwk"), "gateway", production=False, clock=clock)
    token = signer.token_for("files")
    assert signer.token_for("leads") != token
    await clock.advance(239)
    assert signer.token_for("files") == token
    await clock.advance(1)
    renewed = signer.token_for("files")
    assert renewed != token
    assert preparse.parse(renewed).payload["exp"] == int(clock.now().timestamp()) + 300


def test_services_emit_the_name_of_rfc_9864(tmp_path, key):
    """`Ed25519`, not the deprecated `EdDSA`, with a key id and a type; audience is the service called."""
    parsed = preparse.parse(
        ServiceSigner(key.write(tmp_path / "key.jwk"), "gateway", production=False).token_for("files")
    )
    assert (parsed.algorithm, parsed.kid, parsed.typ) == ("Ed25519", key.kid, "jwt")
    assert {name: parsed.payload[name] for name in ("iss", "sub", "aud")} == {
        "iss": "gateway",
        "sub": "gateway",
        "aud": "files",
    }


def test_a_signer_refuses_a_key_that_is_not_its_own(tmp_path, key):
    """The key of gateway in the hands of leads is a misconfiguration."""
    with pytest.raises(KeySetError, match="belongs to 'gateway'"):
        ServiceSigner(key.write(tmp_path / "key.jwk"), "leads", production=False)


def test_a_private_key_open_to_everybody_is_refused(tmp_path, key):
    """Mode 0600 or nothing."""
    path = key.write(tmp_path / "key.jwk")
    path.chmod(0o644)
    with pytest.raises(SecretFileError, match="open to everybody"):
        ServiceSigner(path, "gateway", production=False)


async def test_a_key_set_past_its_size_is_refused_even_if_it_is_good(jwks, key, clock):
    """The limit is of bytes, so that nobody reads an endless file."""
    source = await source_of(jwks, clock)
    write_jwks(jwks, key)
    jwks.write_bytes(jwks.read_bytes().ljust(256 * 1024 + 1))
    await clock.advance(10)
    assert await source.find(key.kid) is None
    jwks.write_bytes(jwks.read_bytes()[:-1])
    await clock.advance(10)
    assert (await source.find(key.kid)).kid == key.kid
