"""A strict reader of compact JWTs, run before any cryptography.

Both common libraries accept a wrong or missing `typ`, an embedded `jwk` and duplicate claims (expectations.md, Act
first), and each reads the same bytes a little differently. Here there is one reading of a token, and everything
doubtful is refused.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

from breakwater.chassis.auth.claims import Reason, TokenRefusedError

TOKEN_SIZE_BYTES_MAX = 8 * 1024
"""Half of the metadata a gRPC server takes."""
TEXT_LENGTH_MAX = 200
"""Characters of `kid`, `iss`, `sub` and each `aud`."""
AUDIENCES_MAX = 16
ALGORITHMS = frozenset({"Ed25519", "EdDSA"})
"""RFC 9864's name and the one it replaces; both mean Ed25519 here, for keys of other curves are not loaded."""

_SIGNATURE_SIZE_BYTES = 64
_TIME_MAX = 2**53
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
# A key that comes with the token, or a member that changes how it is read (RFC 7515 4.1, RFC 7797, RFC 7516).
_FORBIDDEN_HEADERS = frozenset(
    {"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "epk", "apu", "apv", "p2s", "p2c"}
)


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A well-formed token whose signature and claims nobody has judged yet."""

    algorithm: str
    kid: str
    typ: str | None
    """Lower case: `typ` is a media type (RFC 7515 4.1.9)."""
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes


def parse(token: str) -> ParsedToken:
    """Raises `TokenRefusedError` for anything but a canonical compact JWT of Ed25519 with a `kid`."""
    if len(token) > TOKEN_SIZE_BYTES_MAX:
        raise TokenRefusedError(Reason.OVERSIZE)
    segments = token.split(".")
    if len(segments) != 3:  # noqa: PLR2004 - header, payload, signature
        raise TokenRefusedError(Reason.MALFORMED)
    header = _json_object(_decode(segments[0]))
    # The algorithm first, so that `none` is refused as such whatever its signature looks like.
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefusedError(Reason.ALGORITHM)
    if not _FORBIDDEN_HEADERS.isdisjoint(header):
        raise TokenRefusedError(Reason.HEADER)
    kid = header.get("kid")
    if not is_text(kid):
        raise TokenRefusedError(Reason.KEY_ID)
    typ = header.get("typ")
    if typ is not None and not is_text(typ):
        raise TokenRefusedError(Reason.TYPE)
    signature = _decode(segments[2])
    if len(signature) != _SIGNATURE_SIZE_BYTES:
        raise TokenRefusedError(Reason.SIGNATURE)
    return ParsedToken(
        algorithm=algorithm,
        kid=kid,
        typ=None if typ is None else typ.lower(),
        payload=_json_object(_decode(segments[1])),
        signing_input=f"{segments[0]}.{segments[1]}".encode("ascii"),
        signature=signature,
    )


def is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a short, printable text: no number, no control character, no lone surrogate."""
    return isinstance(value, str) and 1 <= len(value) <= TEXT_LENGTH_MAX and value.isprintable()


def text(payload: dict[str, Any], name: str) -> str:
    """A claim that must be a text."""
    value = payload.get(name)
    if not is_text(value):
        raise TokenRefusedError(Reason.CLAIM)
    return value


def time(payload: dict[str, Any], name: str) -> float | None:
    """A claim that must be a NumericDate (RFC 7519 2) when it is there."""
    if name not in payload:
        return None
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _TIME_MAX:
        raise TokenRefusedError(Reason.CLAIM)
    return float(value)


def audience(payload: dict[str, Any]) -> tuple[str, ...]:
    """`aud` as a tuple: a text, or a list of texts that is not empty (RFC 7519 4.1.3)."""
    value = payload.get("aud")
    entries = value if isinstance(value, list) else [value]
    if not 1 <= len(entries) <= AUDIENCES_MAX or not all(map(is_text, entries)):
        raise TokenRefusedError(Reason.AUDIENCE)
    return tuple(entries)


def _decode(segment: str) -> bytes:
    if not _SEGMENT.fullmatch(segment):
        raise TokenRefusedError(Reason.MALFORMED)
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except (binascii.Error, ValueError) as error:
        raise TokenRefusedError(Reason.MALFORMED) from error
    # Unused trailing bits would give one token several spellings.
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment.encode("ascii"):
        raise TokenRefusedError(Reason.MALFORMED)
    return decoded


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise TokenRefusedError(Reason.MALFORMED) from error
    if not isinstance(value, dict):
        raise TokenRefusedError(Reason.MALFORMED)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise TokenRefusedError(Reason.DUPLICATE)
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise TokenRefusedError(Reason.MALFORMED)
