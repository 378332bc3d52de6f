"""Callers' tokens: who a person or machine is, in which role, with which scope."""

import pytest

from breakwater.chassis.auth import CallerVerifier, KeySource, TokenRefusedError
from breakwater.chassis.auth.claims import Reason
from breakwater.chassis.auth.verify import bearer
from breakwater.chassis.identity import Actor, Role, Scope
from tests.support.tokens import ABSENT, Key, write_jwks

ISSUER = "https://login.example"


@pytest.fixture
def key():
    return Key("callers")


@pytest.fixture
async def verifier(tmp_path, key, clock):
    source = KeySource(str(write_jwks(tmp_path / "jwks.json", key)), production=False, clock=clock)
    await source.start()
    return CallerVerifier(source, ISSUER, clock=clock)


@pytest.fixture
def token(key, clock):
    def make(typ="JWT", **changes):
        now = int(clock.now().timestamp())
        claims = {
            "iss": ISSUER,
            "sub": "1001",
            "aud": "breakwater",
            "iat": now,
            "exp": now + 3600,
            "role": "sales",
            "scope": "team",
        }
        return key.token({"alg": "EdDSA", "kid": key.kid, "typ": typ}, claims | changes)

    return make


async def test_a_caller_is_an_actor_with_role_and_scope(verifier, token):
    """The verified token as the domain sees it."""
    assert await verifier.verify(token()) == Actor("1001", Role.SALES, Scope.TEAM)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", ABSENT])
async def test_the_types_of_access_tokens_are_accepted(verifier, token, typ):
    """RFC 9068's type, the plain one, and none at all: issuers differ."""
    assert (await verifier.verify(token(typ=typ))).sub == "1001"


async def test_a_scope_not_given_is_the_narrowest(verifier, token):
    """Only one's own records."""
    assert (await verifier.verify(token(scope=ABSENT))).scope is Scope.OWN


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"role": ABSENT}, Reason.ROLE),
        ({"role": "root"}, Reason.ROLE),
        ({"role": ["admin"]}, Reason.ROLE),
        ({"role": 1}, Reason.ROLE),
        ({"scope": "universe"}, Reason.ROLE),
        ({"scope": None}, Reason.ROLE),
        ({"iss": "https://evil.example"}, Reason.ISSUER),
        ({"aud": "files"}, Reason.AUDIENCE),
        ({"sub": 1001}, Reason.CLAIM),
        ({"exp": ABSENT}, Reason.CLAIM),
        ({"exp": 4_000_000_000}, Reason.LIFETIME),
        ({"typ": "logout+jwt"}, Reason.TYPE),
    ],
)
async def test_a_token_that_says_too_little_or_too_much_is_refused(verifier, token, changes, reason):
    """Each refusal has its reason for logs; the caller reads the same sentence for all."""
    with pytest.raises(TokenRefusedError) as refused:
        await verifier.verify(token(**changes))
    assert refused.value.reason is reason
    assert refused.value.detail == "The credential is missing or not valid."


@pytest.mark.parametrize(
    ("header", "reason"),
    [(None, Reason.MISSING), ("", Reason.MISSING), ("Basic abc", Reason.SCHEME), ("Bearerabc", Reason.SCHEME)],
)
def test_only_the_bearer_scheme_is_read(header, reason):
    """RFC 6750; the scheme's case does not matter."""
    with pytest.raises(TokenRefusedError) as refused:
        bearer(header)
    assert refused.value.reason is reason
    assert bearer("bearer abc") == bearer("Bearer abc") == "abc"
