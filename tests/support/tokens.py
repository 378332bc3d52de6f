"""Tokens signed by hand: the verifier under test must not share a library's mistakes with its tests."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from breakwater.chassis.auth import new_private_jwk, public_jwk

ABSENT = object()
"""In place of a member's value: leave the member out."""


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def encoded(members: dict[str, Any]) -> str:
    return b64(json.dumps({name: value for name, value in members.items() if value is not ABSENT}).encode())


@dataclass
class Key:
    """A private key with its JWK."""

    owner: str
    development: bool = True
    jwk: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.jwk = new_private_jwk(self.owner, development=self.development)

    @property
    def kid(self) -> str:
        return self.jwk["kid"]

    @property
    def public(self) -> dict[str, str]:
        return public_jwk(self.jwk)

    def sign(self, message: bytes) -> bytes:
        secret = base64.urlsafe_b64decode(self.jwk["d"] + "==")
        return Ed25519PrivateKey.from_private_bytes(secret).sign(message)

    def hmac_with_public_key(self, message: bytes) -> bytes:
        return hmac.digest(base64.urlsafe_b64decode(self.jwk["x"] + "=="), message, hashlib.sha256)

    def token(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """A compact JWT, signed whatever its header says."""
        return self.signed(f"{encoded(header)}.{encoded(claims)}")

    def signed(self, signing_input: str) -> str:
        return f"{signing_input}.{b64(self.sign(signing_input.encode()))}"

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(self.jwk))
        path.chmod(0o600)
        return path


def write_jwks(path: Path, *keys: Key, revoked: tuple[Key, ...] = ()) -> Path:
    path.write_text(json.dumps({"keys": [key.public for key in keys], "revoked": [key.kid for key in revoked]}))
    return path
