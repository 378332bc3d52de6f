"""What the verifier of service tokens accepts and refuses: single changes by hand, pairs of changes generated."""

import itertools
import json

import pytest

from breakwater.chassis.auth import TokenRefusedError
from breakwater.chassis.auth.preparse import TOKEN_SIZE_BYTES_MAX
from tests.support.tokens import ABSENT, b64, encoded

# Each dimension of a token with values that are fine and values that are not. `{now}` stands for the present second.
DIMENSIONS = {
    "alg": (
        ["Ed25519", "EdDSA"],
        ["none", "None", "NONE", "nOnE", "HS256", "RS256", "Ed448", "ed25519", "", 1, ABSENT],
    ),
    "typ": (["JWT", "jwt"], ["at+jwt", "JWS", "", 1, ABSENT]),
    "kid": (["{key}", "{next_key}"], ["unknown", "{leads}", "", 7, None, ["{key}"], ABSENT]),
    "crit": ([ABSENT], [["exp"], [], "x"]),
    "jwk": ([ABSENT], [{"kty": "OKP"}, None]),
    "jku": ([ABSENT], ["https://attacker.example/jwks"]),
    "x5u": ([ABSENT], ["https://attacker.example/cert"]),
    "b64": ([ABSENT], [False]),
    "iss": (["gateway"], ["leads", "", 3, None, ABSENT]),
    "sub": (["gateway"], ["leads", 42, "gate\nway", "x" * 201, ABSENT]),
    "aud": (["files", ["files"], ["notify", "files"]], ["notify", ["notify"], [], ["files", 1], {"files": 1}, ABSENT]),
    "exp": (["{now}+300", "{now}-4"], ["{now}-5", "{now}-3600", "soon", True, -1, 1e300, ABSENT]),
    "iat": (["{now}", "{now}+5"], ["{now}+6", "{now}-4000", "today", ABSENT]),
    "nbf": ([ABSENT, "{now}", "{now}+5"], ["{now}+6", "{now}+3600", "now", None]),
    "extra": ([ABSENT, "anything", {"deep": [1, 2]}], []),
}
HEADERS = ("alg", "typ", "kid", "crit", "jwk", "jku", "x5u", "b64")


def token_of(gate, changes):
    """A token with the changes, signed by the key its kid names."""
    keys = {"{key}": gate.key, "{next_key}": gate.next_key, "{leads}": gate.leads_key}
    header, claims, key = gate.header(), gate.claims(), gate.key
    if changes.get("exp") in ("{now}-4", "{now}-5", "{now}-3600"):
        claims["iat"] = gate.now - 3590
    for name, change in changes.items():
        value = change
        if isinstance(change, str) and change in keys:
            key, value = keys[change], keys[change].kid
        elif isinstance(change, str) and change.startswith("{now}"):
            value = gate.now + int(change.removeprefix("{now}") or 0)
        (header if name in HEADERS else claims)[name] = value
    return key.token(header, claims)


async def accepted(gate, token):
    try:
        return await gate.verifier.verify(token) == "gateway"
    except TokenRefusedError:
        return False


async def test_the_base_token_is_accepted(gate):
    """The token every vector is a change of is good, or else all refusals would mean nothing."""
    assert await accepted(gate, token_of(gate, {}))


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(DIMENSIONS, 2)))
async def test_pairs_of_changes_are_accepted_only_when_both_are_fine(gate, one, other):
    """For every two dimensions and every two of their values: in if both are fine, out otherwise."""
    wrong = []
    for first, second in itertools.product(*(range(sum(map(len, DIMENSIONS[name]))) for name in (one, other))):
        values = [(DIMENSIONS[name][0] + DIMENSIONS[name][1])[index] for name, index in ((one, first), (other, second))]
        fine = first < len(DIMENSIONS[one][0]) and second < len(DIMENSIONS[other][0])
        changes = {one: values[0], other: values[1]}
        # Expired by four seconds, but issued now: a lifetime below zero is refused whatever the leeway says.
        if changes.get("exp") == "{now}-4" and "iat" in changes:
            fine = False
        if await accepted(gate, token_of(gate, changes)) != fine:
            wrong.append((changes, "should be accepted" if fine else "should be refused"))
    assert wrong == []


async def test_hs256_with_the_public_key_as_secret_is_refused(gate):
    """The classic confusion of algorithms, under every name that might lead there."""
    for algorithm in ("HS256", "Ed25519", "EdDSA"):
        signing_input = f"{encoded(gate.header(alg=algorithm))}.{encoded(gate.claims())}"
        token = f"{signing_input}.{b64(gate.key.hmac_with_public_key(signing_input.encode()))}"
        assert not await accepted(gate, token)


async def test_a_token_without_signature_is_refused(gate):
    """An empty signature, with and without its dot."""
    unsigned = f"{encoded(gate.header(alg='none'))}.{encoded(gate.claims())}"
    for token in (unsigned, unsigned + ".", f"{encoded(gate.header())}.{encoded(gate.claims())}."):
        assert not await accepted(gate, token)


async def test_every_flipped_bit_of_header_payload_and_signature_is_refused(gate):
    """Tampering with any character makes another token."""
    token = token_of(gate, {})
    for position in range(0, len(token), 7):
        if token[position] == ".":
            continue
        changed = "A" if token[position] != "A" else "B"
        assert not await accepted(gate, token[:position] + changed + token[position + 1 :])


async def test_a_key_signs_only_for_its_owner(gate):
    """A stolen key of leads does not speak as gateway, and the other way round."""
    assert await accepted(gate, gate.key.token(gate.header(), gate.claims()))
    assert not await accepted(gate, gate.leads_key.token(gate.header(kid=gate.leads_key.kid), gate.claims()))
    assert not await accepted(gate, gate.key.token(gate.header(), gate.claims(iss="leads", sub="leads")))
    assert not await accepted(gate, gate.key.token(gate.header(), gate.claims(sub="leads")))


async def test_duplicate_members_are_refused(gate):
    """A claim or a header member given twice, the second time with the good value."""
    payload = json.dumps(gate.claims(nbf=gate.now))
    twice = payload.replace('"aud"', '"aud": "notify", "aud"')
    assert twice != payload
    assert not await accepted(gate, gate.key.signed(f"{encoded(gate.header())}.{b64(twice.encode())}"))
    header = json.dumps(gate.header()).replace('"alg"', '"alg": "none", "alg"')
    claims = encoded(gate.claims())
    assert not await accepted(gate, gate.key.signed(f"{b64(header.encode())}.{claims}"))
    nested = json.dumps(gate.claims(nbf=gate.now, extra={"a": 1})).replace('"a": 1', '"a": 1, "a": 2')
    assert not await accepted(gate, gate.key.signed(f"{encoded(gate.header())}.{b64(nested.encode())}"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token + "=",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token + ".",
        lambda token: token.replace(".", "..", 1),
        lambda token: token.split(".", 1)[1],
        lambda token: token[:-1] + chr(ord(token[-1]) + 1),  # other unused bits, same bytes
        lambda token: token.replace("-", "+").replace("_", "/") + "!",
        lambda token: token + "é",
        lambda _: "",
        lambda _: "...",
        lambda _: ".".join([b64(b"[]")] * 3),
        lambda _: ".".join([b64(b"\xff\xfe")] * 3),
        lambda _: b64(b"[" * 5000) + ".e30.e30",
        lambda _: b64(b'{"alg": NaN}') + ".e30.e30",
    ],
)
async def test_other_spellings_are_refused(gate, spoil):
    """There is one way to write a token; padding, blanks, other alphabets and broken JSON are out."""
    assert not await accepted(gate, spoil(token_of(gate, {})))


async def test_the_largest_token_is_accepted_and_one_byte_more_is_not(gate):
    """The size limit is exact."""
    near = TOKEN_SIZE_BYTES_MAX
    base = len(token_of(gate, {"extra": ""}))
    fitting = token_of(gate, {"extra": "x" * ((near - base) * 3 // 4)})
    assert near - 4 <= len(fitting) <= near
    assert await accepted(gate, fitting)
    assert not await accepted(gate, token_of(gate, {"extra": "x" * ((near - base) * 3 // 4 + 4)}))


async def test_a_remembered_token_ends_with_its_expiry(gate):
    """The cache of verified tokens never outlives `exp` and the leeway."""
    token = token_of(gate, {})
    assert await accepted(gate, token)
    await gate.clock.advance(304)
    assert await accepted(gate, token)
    await gate.clock.advance(1)
    assert not await accepted(gate, token)


async def test_the_cache_of_verified_tokens_is_bounded(gate):
    """A caller that mints a token for each call costs memory for a few of them only, and all are accepted."""
    verifier = gate.verifier._verifier
    verifier._cache_entries_max = 3
    tokens = [token_of(gate, {"extra": number}) for number in range(10)]
    for token in [*tokens, *tokens]:
        assert await accepted(gate, token)
        assert len(verifier._cache) <= 3
    await gate.clock.advance(400)
    fresh = token_of(gate, {})
    assert await accepted(gate, fresh)
    assert set(verifier._cache) == {fresh}
