"""The strict pre-parser before arbitrary input."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.auth import TokenRefusedError, preparse
from tests.support.tokens import b64

SIGNATURE = b64(b"\x01" * 64)
HEADER = {"alg": "Ed25519", "kid": "gateway-1", "typ": "JWT"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def outcome(token):
    """The parsed token, or None where it is refused; anything else escapes and fails the test."""
    try:
        return preparse.parse(token)
    except TokenRefusedError:
        return None


@given(st.text() | st.text(alphabet="abcAB01-_.=+/ \n", max_size=300))
def test_any_text_is_parsed_or_refused(text):
    """No input makes the parser fail in another way than by refusing."""
    outcome(text)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(min_size=60, max_size=68))
def test_any_bytes_in_the_segments_are_parsed_or_refused(header, payload, signature):
    """Broken UTF-8 and broken JSON are refusals too."""
    outcome(".".join(map(b64, (header, payload, signature))))


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_what_is_parsed_is_exactly_what_was_written(claims):
    """A well-formed payload comes out unchanged."""
    token = f"{b64(json.dumps(HEADER).encode())}.{b64(json.dumps(claims).encode())}.{SIGNATURE}"
    parsed = outcome(token)
    assert parsed is not None
    assert parsed.payload == claims
    assert parsed.signing_input.decode() == token.rpartition(".")[0]


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "jwk", "crit", "b64", "x5c", "other"]), json_values))
def test_a_header_is_parsed_only_with_a_known_algorithm_a_key_id_and_nothing_that_carries_a_key(header):
    """Whatever else a header holds, these three decide."""
    parsed = outcome(f"{b64(json.dumps(header).encode())}.{b64(b'{}')}.{SIGNATURE}")
    fine = (
        header.get("alg") in ("Ed25519", "EdDSA")
        and preparse.is_text(header.get("kid"))
        and (header.get("typ") is None or preparse.is_text(header["typ"]))
        and not {"jwk", "crit", "b64", "x5c"} & set(header)
    )
    assert (parsed is not None) == fine


@given(st.data())
def test_a_token_has_one_spelling(data):
    """Changing any one character of a good token gives another content or a refusal, never the same token."""
    token = f"{b64(json.dumps(HEADER).encode())}.{b64(b'{}')}.{SIGNATURE}"
    position = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda each: each != token[position]))
    parsed = outcome(token[:position] + other + token[position + 1 :])
    assert parsed is None or (parsed.signing_input, parsed.signature) != (
        token.rpartition(".")[0].encode(),
        b"\x01" * 64,
    )


@pytest.mark.parametrize("value", [True, "1", -1, 2**54, float("1e300"), None, [1]])
def test_a_time_is_a_plain_number(value):
    """NumericDate (RFC 7519 2): no booleans, no texts, nothing negative or absurd."""
    with pytest.raises(TokenRefusedError):
        preparse.time({"exp": value}, "exp")


@pytest.mark.parametrize(
    "value", ["", "x" * 201, "gate\nway", "a\tb", "\x00", "\ud800", "\u202egateway", 7, None, ["x"]]
)
def test_a_text_is_short_and_printable(value):
    """Names end up in logs and metrics: no control characters, no reversed writing, no lone surrogates, no numbers."""
    assert not preparse.is_text(value)
    assert preparse.is_text("值班席 duty-desk")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_is_refused(constant):
    """Python reads these constants; JSON has none of them."""
    payload = b64(b'{"extra": ' + constant.encode() + b"}")
    assert outcome(f"{b64(json.dumps(HEADER).encode())}.{payload}.{SIGNATURE}") is None
