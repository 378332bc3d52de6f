"""Token recipes: what a verifier must accept and reject, generated pairwise and minted anew at each run.

A recipe is stored whole, with times relative to now and keys by role, because stored tokens would expire and make every
candidate look strict. Tokens are signed here with plain Ed25519 and plain base64, not by a JWT library: one library on
both sides would share its bugs (contract-gate.md, Pitfalls).
"""

import base64
import hashlib
import hmac
import itertools
import json
import string
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ACCEPT, REJECT = "accept", "reject"
ELSEWHERE = ("x-jwt", "x-authorization", "proxy-authorization", "x-access-token", "cookie")
"""Where a token might be read instead: the fault the platform was founded on."""
_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
EMITTED = "emitted"
"""The recipe of what the real client sends."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to mint one credential. Claim values `{"now": s}` become the present time plus `s` seconds."""

    name: str
    header: dict[str, Any]
    claims: dict[str, Any]
    key: str = "current"
    """Which key signs: current, previous (both published) or foreign."""
    signature: str = "ed25519"
    """ed25519, hs256-with-public-key, empty, tampered, or other-payload (signed, then the claims were changed)."""
    metadata_key: str = "authorization"
    scheme: str = "Bearer"
    copies: int = 1
    """How often the credential is sent in one call."""
    raw_header: str = ""
    """The header's JSON text when no dict can say it, such as one with a doubled key."""
    raw_claims: str = ""
    """The claims' JSON text, likewise; `@iat` and `@exp` stand for good times."""
    shape: str = ""
    """How the three segments are spoilt: two, four, padded, loose bits, a foreign letter; empty: not at all."""
    transport: str = "grpc"
    """grpc, or http for the tokens of callers at the gateway."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A recipe with the label a release's verifier gave it, `accept` or `reject`."""

    recipe: Recipe
    label: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Fresh key pairs of one owner by role, and the key ids the published ones go by."""

    owner: str
    private: dict[str, Ed25519PrivateKey] = field(
        default_factory=lambda: {role: Ed25519PrivateKey.generate() for role in ("current", "previous", "foreign")}
    )

    def kid(self, role: str) -> str:
        return f"{self.owner}-{role}"

    def public(self, role: str) -> bytes:
        """The raw public key, 32 bytes."""
        return self.private[role].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def jwk(self, role: str, *, private: bool = False) -> dict[str, Any]:
        """The key as a JWK (RFC 8037), with its owner."""
        jwk = {"kty": "OKP", "crv": "Ed25519", "kid": self.kid(role), "x": _b64(self.public(role)), "use": "sig"}
        jwk["owner"] = self.owner
        return jwk | ({"d": _b64(self.private[role].private_bytes_raw())} if private else {})


def generate(header: dict[str, Any], claims: dict[str, Any], *, transport: str = "grpc") -> list[Recipe]:
    """Every recipe around what a real client emits: single edits, then each edit of the head with each of the claims.

    `header` and `claims` are a real client's, with times relative (`{"now": s}`).
    """
    real = Recipe(EMITTED, header, claims, transport=transport)
    head_edits = list(_head_edits(real))
    claim_edits = list(_claim_edits(real))
    recipes = [real, *head_edits, *claim_edits, *_credential_edits(real)]
    for head, claim in itertools.product(head_edits, claim_edits):
        recipes.append(replace(head, name=f"{head.name} + {claim.name}", claims=claim.claims))
    return recipes


def never_accepted(real: Recipe) -> list[Recipe]:
    """Credentials around a real one that nobody ever accepts, whatever a release was recorded doing; not recorded with it."""
    service = real.claims["aud"]
    found = [
        replace(real, name="aud a list with a very long text", claims=real.claims | {"aud": [service, "k" * 300]}),
        replace(real, name="aud a list with an empty text", claims=real.claims | {"aud": [service, ""]}),
    ]
    found += [
        replace(real, name=f"{name} a list", header=real.header | {name: [real.header[name]]})
        for name in ("alg", "kid", "typ")
    ]
    if real.transport == "grpc":
        # Good but for the key, which is not the named service's.
        other = next(name for name in ("ops", "gateway") if name != real.claims["iss"])
        named = {"iss": other, "sub": other}
        found.append(replace(real, name="another service's name", claims=real.claims | named))
    return found


_NONES_PAIRED = ("none", "None", "NONE", "nOnE")


def _head_edits(real: Recipe) -> Iterator[Recipe]:
    def header(name: str, **values: Any) -> Recipe:
        return replace(real, name=name, header={k: v for k, v in (real.header | values).items() if v is not None})

    yield header("alg EdDSA", alg="EdDSA")
    yield header("alg Ed25519", alg="Ed25519")
    for spelling in _NONES_PAIRED:
        yield replace(header(f"alg {spelling}", alg=spelling), signature="empty")
    yield replace(header("alg HS256 signed with the public key", alg="HS256"), signature="hs256-with-public-key")
    yield header("alg missing", alg=None)
    yield header("typ missing", typ=None)
    yield header("typ wrong", typ="at+jwt")
    yield header("typ lower case", typ="jwt")
    yield header("typ JWS", typ="JOSE")
    yield header("kid missing", kid=None)
    yield header("kid unknown", kid="nobody")
    yield header("kid an integer", kid=7)
    yield header("crit unknown", crit=["exp2"], exp2=True)
    yield header("jwk embedded", jwk={"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})
    yield header("jku given", jku="https://keys.invalid/jwks.json")
    yield header("x5u given", x5u="https://keys.invalid/chain.pem")
    yield header("b64 false", b64=False)
    yield header("alg lower case", alg="ed25519")
    yield header("alg ES256", alg="ES256")
    doubled = json.dumps(real.header, separators=(",", ":"))
    yield replace(real, name="alg given twice", raw_header=doubled[:-1] + ',"alg":"none"}')


def _claim_edits(real: Recipe) -> Iterator[Recipe]:
    def claims(name: str, **values: Any) -> Recipe:
        return replace(real, name=name, claims={k: v for k, v in (real.claims | values).items() if v is not None})

    yield claims("expired", exp={"now": -3600}, iat={"now": -3900})
    yield claims("expired within leeway", exp={"now": -2}, iat={"now": -302})
    yield claims("expired past leeway", exp={"now": -10}, iat={"now": -310})
    yield claims("just within leeway", nbf={"now": 2})
    yield claims("not yet valid", nbf={"now": 3600})
    yield claims("nbf past leeway", nbf={"now": 12})
    yield claims("issued within leeway", iat={"now": 2})
    yield claims("issued past leeway", iat={"now": 12})
    yield claims("lives too long", exp={"now": 30 * 86_400})
    yield claims("iat missing", iat=None)
    yield claims("jti missing", jti=None)
    yield claims("exp missing", exp=None)
    yield claims("exp as text", exp="tomorrow")
    yield claims("aud missing", aud=None)
    yield claims("aud another service", aud="somebody-else")
    yield claims("aud as a list", aud=[real.claims["aud"]])
    yield claims("aud a list with others", aud=["somebody-else", real.claims["aud"]])
    yield claims("iss missing", iss=None)
    yield claims("iss foreign", iss="https://issuer.invalid")
    yield claims("iss an integer", iss=7)
    yield claims("sub missing", sub=None)
    yield claims("sub somebody else", sub="somebody-else")
    yield claims("sub an integer", sub=1001)
    yield claims("large", padding="x" * 2048)
    yield claims("huge", padding="x" * 9_000)
    if "role" in real.claims:
        yield claims("role unknown", role="emperor")
        yield claims("role missing", role=None)
        yield claims("scope missing", scope=None)
        yield claims("scope unknown", scope="galaxy")


def _credential_edits(real: Recipe) -> Iterator[Recipe]:
    # Every spelling; four of them are also paired with the claims.
    for letters in itertools.product(*zip("none", "NONE", strict=True)):
        spelling = "".join(letters)
        if spelling not in _NONES_PAIRED:
            yield replace(real, name=f"alg {spelling}", header=real.header | {"alg": spelling}, signature="empty")
    yield replace(real, name="previous key", key="previous", header=real.header | {"kid": "$previous"})
    yield replace(real, name="foreign key under a known kid", key="foreign")
    yield replace(real, name="foreign key", key="foreign", header=real.header | {"kid": "$foreign"})
    yield replace(real, name="signature tampered", signature="tampered")
    yield replace(real, name="signature empty", signature="empty")
    yield replace(real, name="claims changed after signing", signature="other-payload")
    yield replace(real, name="sent twice", copies=2)
    yield replace(real, name="not sent", copies=0)
    yield replace(real, name="scheme lower case", scheme="bearer")
    yield replace(real, name="scheme Token", scheme="Token")
    yield replace(real, name="no scheme", scheme="")
    yield replace(real, name="scheme Basic", scheme="Basic")
    for shape in SHAPES:
        yield replace(real, name=f"shape {shape}", shape=shape)
    yield from _malformed(real)
    for key in ELSEWHERE:
        yield replace(real, name=f"in {key}", metadata_key=key, scheme="")
        yield replace(real, name=f"in {key} with a scheme", metadata_key=key)


def _malformed(real: Recipe) -> Iterator[Recipe]:
    """Members of the wrong type, too long, or given twice: not paired, for one is enough to refuse a token."""
    for name, value in (
        ("a number", 1),
        ("very long", "k" * 300),
        ("with a control character", "k\u0007k"),
        ("empty", ""),
    ):
        yield replace(real, name=f"kid {name}", header=real.header | {"kid": value})
        yield replace(real, name=f"typ {name}", header=real.header | {"typ": value})
        yield replace(real, name=f"sub {name}", claims=real.claims | {"sub": value})
    for claim in ("exp", "iat", "nbf"):
        for name, wrong in (("a boolean", True), ("a text", "1"), ("negative", -1), ("a list", [1])):
            yield replace(real, name=f"{claim} {name}", claims=real.claims | {claim: wrong})
    yield replace(real, name="exp beyond reason", claims=real.claims | {"exp": 2**60})
    yield replace(real, name="exp before iat", claims=real.claims | {"iat": {"now": 3}, "exp": {"now": 1}})
    audience = real.claims["aud"]
    for name, several in (("empty list", []), ("list with a number", [audience, 1]), ("list of many", [audience] * 17)):
        yield replace(real, name=f"aud {name}", claims=real.claims | {"aud": several})
    yield replace(real, name="aud a map", claims=real.claims | {"aud": {audience: True}})
    text = json.dumps(real.claims | {"iat": "@iat", "exp": "@exp"}).replace('"@iat"', "@iat").replace('"@exp"', "@exp")
    yield replace(real, name="aud given twice", raw_claims=text[:-1] + f',"aud":"{audience}"}}')
    yield replace(real, name="a claim not a number", raw_claims=text[:-1] + ',"x":NaN}')
    yield replace(real, name="claims a list", raw_claims=f"[{text}]")
    yield replace(real, name="claims no JSON", raw_claims=text[:-1])
    yield replace(real, name="header a list", raw_header="[1]")


SHAPES = ("two segments", "four segments", "padded", "loose bits", "a foreign letter")
# Whatever a release's verifier said: these are never accepted. Labels taken from a release would freeze its mistakes.
MUST_REJECT = frozenset({
    "alg HS256 signed with the public key", "alg given twice", "alg missing", "alg ES256",
    "kid unknown", "kid missing", "kid an integer", "crit unknown", "jwk embedded", "jku given", "x5u given", "b64 false",
    "expired", "expired past leeway", "not yet valid", "nbf past leeway", "issued past leeway", "lives too long",
    "exp missing", "exp as text", "aud missing", "aud another service", "iss missing", "iss foreign", "iss an integer",
    "sub missing", "sub an integer", "foreign key under a known kid", "foreign key", "signature tampered",
    "signature empty", "claims changed after signing", "sent twice", "not sent", "role unknown", "role missing",
    "kid a number", "sub a number", "exp a boolean", "exp a text", "iat a text", "nbf a text", "exp before iat",
    "aud empty list", "aud a map", "aud given twice", "claims a list", "claims no JSON", "header a list",
    "shape two segments", "shape four segments",
    "aud a list with a very long text", "aud a list with an empty text", "another service's name",
    "alg a list", "kid a list", "typ a list",
})  # fmt: skip


def must_reject(recipe: Recipe) -> bool:
    """Whether any part of the recipe's name is hand-kept as never acceptable."""
    parts = recipe.name.split(" + ")
    return any(part in MUST_REJECT or part.lower() == "alg none" for part in parts)


def mint(recipe: Recipe, keys: Keys, now_s: float) -> str:
    """The compact JWS the recipe describes, valid around `now_s` (seconds since the epoch)."""
    header = {name: _resolve(value, keys, now_s) for name, value in recipe.header.items()}
    claims = {name: _resolve(value, keys, now_s) for name, value in recipe.claims.items()}
    head_text = recipe.raw_header.replace("$current", keys.kid("current")) or json.dumps(header, separators=(",", ":"))
    body_text = json.dumps(claims, separators=(",", ":"))
    if recipe.raw_claims:
        body_text = recipe.raw_claims.replace("@iat", str(int(now_s))).replace("@exp", str(int(now_s) + 300))
    head, body = _b64(head_text.encode()), _b64(body_text.encode())
    signed = f"{head}.{body}".encode()
    match recipe.signature:
        case "ed25519":
            signature = keys.private[recipe.key].sign(signed)
        case "hs256-with-public-key":
            signature = hmac.new(keys.public(recipe.key), signed, hashlib.sha256).digest()
        case "empty":
            signature = b""
        case "tampered":
            good = keys.private[recipe.key].sign(signed)
            signature = bytes([good[0] ^ 1]) + good[1:]
        case "other-payload":
            signature = keys.private[recipe.key].sign(signed)
            body = _b64(json.dumps(claims | {"sub": "somebody-else"}, separators=(",", ":")).encode())
        case other:
            raise ValueError(f"unknown signature {other!r}")
    return _shaped(f"{head}.{body}.{_b64(signature)}", recipe.shape)


def _shaped(token: str, shape: str) -> str:
    match shape:
        case "two segments":
            return token.rpartition(".")[0]
        case "four segments":
            return f"{token}.e30"
        case "padded":
            return f"{token}=="
        case "loose bits":
            # 64 bytes leave four bits of the last letter unused.
            return token[:-1] + _LETTERS[_LETTERS.index(token[-1]) ^ 1]
        case "a foreign letter":
            return f"{token[:-1]}!"
    return token


def metadata(recipe: Recipe, keys: Keys, now_s: float) -> tuple[tuple[str, str], ...]:
    """The gRPC metadata the recipe sends."""
    credential = f"{recipe.scheme} {mint(recipe, keys, now_s)}".strip()
    return ((recipe.metadata_key, credential),) * recipe.copies


def dump(vectors: list[Vector], path: Path) -> None:
    """Writes one JSON object a line; what a recipe leaves at its default is left out."""
    lines = (json.dumps({**_stated(v.recipe), "label": v.label}, ensure_ascii=False, sort_keys=True) for v in vectors)
    path.write_text("\n".join(lines) + "\n")


def load(path: Path) -> list[Vector]:
    """The vectors of a release. Raises `ValueError` when a line is not understood."""
    vectors = []
    for line in path.read_text().splitlines():
        document = json.loads(line)
        label = document.pop("label")
        if label not in {ACCEPT, REJECT}:
            raise ValueError(f"{path.name}: unknown label {label!r}")
        vectors.append(Vector(Recipe(**document), label))
    return vectors


def _stated(recipe: Recipe) -> dict[str, Any]:
    defaults = {each.name: each.default for each in fields(Recipe)}
    return {name: value for name, value in asdict(recipe).items() if value != defaults[name]}


def _resolve(value: Any, keys: Keys, now_s: float) -> Any:
    if isinstance(value, dict) and set(value) == {"now"}:
        return int(now_s) + value["now"]
    if isinstance(value, str) and value.startswith("$"):
        return keys.kid(value.removeprefix("$"))
    return value


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
