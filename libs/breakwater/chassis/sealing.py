"""Secrets that wait in a queue are sealed: AES-256-GCM, bound to what they are for.

A sealed secret is worth nothing without the key, cannot be moved to another record, and hides its length within 128 bytes.
The key before the present one opens too, so that a key is changed without losing what waits: processes learn the new one as
the present and the old one as the previous, one after the other, and forget the old one when what it sealed is used or gone.
"""

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from breakwater.chassis.settings import SecretFileError, read_secret

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_LENGTH_BYTES: Final = 2
_SECRET_BYTES_MAX: Final = 4 * 1024
_PADDED_TO_BYTES: Final = 128
_DISTINCT_BYTES_MIN: Final = 12  # of 32 random bytes: fewer in one of 10^15 keys


class Seals:
    """Seals secrets and opens them again."""

    def __init__(self, key: bytes, previous: bytes | None = None) -> None:
        """Raises ValueError for a key that is not 32 bytes, or plainly not random."""
        self._keys = [AESGCM(_checked(each)) for each in (key, previous) if each is not None]

    @classmethod
    def from_files(cls, key: Path, previous: Path | None) -> "Seals":
        """Raises SecretFileError, which names the file and never what is in it."""
        return cls(*(_read(path) for path in (key, previous) if path is not None))

    def seal(self, secret: str, bound_to: str) -> bytes:
        """The secret for the record of that id. Raises ValueError for one past 4 KiB."""
        content = secret.encode()
        if len(content) > _SECRET_BYTES_MAX:
            raise ValueError(f"a secret has at most {_SECRET_BYTES_MAX} bytes")
        padded = len(content).to_bytes(_LENGTH_BYTES, "big") + content
        padded += bytes(-len(padded) % _PADDED_TO_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._keys[0].encrypt(nonce, padded, _VERSION + bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> str | None:
        """The secret; None when it was sealed with a key that is not here, for another record, or was changed."""
        start = len(_VERSION) + _NONCE_BYTES
        if not sealed.startswith(_VERSION):
            return None
        for key in self._keys:
            try:
                padded = key.decrypt(sealed[len(_VERSION) : start], sealed[start:], _VERSION + bound_to.encode())
            except (InvalidTag, ValueError):
                continue
            length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
            return padded[_LENGTH_BYTES : _LENGTH_BYTES + length].decode()
        return None


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, this one {len(key)}")
    if len(set(key)) < _DISTINCT_BYTES_MIN:
        raise ValueError(f"a key is {KEY_BYTES} random bytes, this one is not")
    return key


def _read(path: Path) -> bytes:
    try:
        return _checked(read_secret(path))
    except ValueError as error:
        raise SecretFileError(f"{path} cannot be used: {error}; make a new one of {KEY_BYTES} random bytes") from error
