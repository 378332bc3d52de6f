"""Callers' tokens of the local platform, signed with the key made on its first start."""

import base64
import json
import os
import time
from typing import Any

from breakwater.cli.errors import NotAllowedError
from breakwater.local.state import CALLER_ISSUER, State

# breakwater.chassis.auth.CALLER_AUDIENCE, which is slow to import.
AUDIENCE = "breakwater"


def sign_caller_token(state: State, *, sub: str, role: str, scope: str, ttl_s: int) -> str:
    """A JWT for the local gateway. Raises NotAllowedError when there is no local key."""
    # Imported here: most commands sign nothing.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    try:
        jwk = json.loads(state.caller_key.read_bytes())
    except FileNotFoundError:
        raise NotAllowedError(
            f"There is no key in {state.keys}: start the platform by `breakwater up`, or set BREAKWATER_TOKEN."
        ) from None
    now = int(time.time())
    header = {"alg": "Ed25519", "kid": jwk["kid"], "typ": "JWT"}
    claims = {
        "iss": CALLER_ISSUER,
        "aud": AUDIENCE,
        "sub": sub,
        "role": role,
        "scope": scope,
        "iat": now,
        "exp": now + ttl_s,
        "jti": os.urandom(12).hex(),
    }
    signing_input = f"{_encode_json(header)}.{_encode_json(claims)}"
    key = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(jwk["d"] + "=="))
    return f"{signing_input}.{_encode(key.sign(signing_input.encode('ascii')))}"


def _encode_json(members: dict[str, Any]) -> str:
    return _encode(json.dumps(members, separators=(",", ":")).encode())


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
