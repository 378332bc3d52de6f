"""A workbook behind a password: ECMA-376 agile encryption ([MS-OFFCRYPTO] 2.3.4), AES-256 and SHA-512, as a stream.

The format puts the size of the package before its content, and authenticates both; so nothing leaves before the last
byte is known. Until then the package waits *encrypted*, in memory up to 8 MiB and past that in a file without a name,
which ends with the process however it ends. Memory stays where it is however large the package.

Needs the `cryptography` wheel; import it from here, for the rest of `breakwater.sheets` does not.
"""

import base64
import hashlib
import hmac
import os
import struct
import tempfile
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from breakwater.sheets.columns import Sink
from breakwater.sheets.compound import SIZE_BYTES_MAX, Stream, write_compound
from breakwater.sheets.zip32 import FileFullError

SPIN_COUNT = 100_000
"""Hashes from a password to its key, as Office has it: a tenth of a second."""
PASSWORD_CHARACTERS_MAX = 255
"""Of UTF-16, as Office has it."""
SPOOL_MEMORY_BYTES_MAX = 8 * 1024 * 1024

_SEGMENT_BYTES, _BLOCK_BYTES, _KEY_BYTES, _HASH_BYTES = 4_096, 16, 32, 64
_SEGMENTS_AT_A_TIME = 64
_COPIED_BYTES = 256 * 1024
# What each key and vector is derived for ([MS-OFFCRYPTO] 2.3.4.13 and 2.3.4.14).
_FOR_VERIFIER = bytes.fromhex("fea7d2763b4b9e79")
_FOR_VERIFIER_HASH = bytes.fromhex("d7aa0f6d3061344e")
_FOR_KEY = bytes.fromhex("146e0be7abacd0d6")
_FOR_HMAC_KEY = bytes.fromhex("5fb2ad010cb9e1f6")
_FOR_HMAC = bytes.fromhex("a0677f02b22c8433")


class EncryptedPackage:
    """A sink for a writer: takes a package as it is made, sends it encrypted to `sink` at `close`.

    with EncryptedPackage(file.write, "correct horse") as package:
        writer = XlsxWriter(package.write, columns)
        writer.write_rows(rows)
        writer.close()
        size_bytes = package.close()
    """

    def __init__(
        self,
        sink: Sink,
        password: str,
        *,
        spool_dir: str | None = None,
        size_bytes_max: int = SIZE_BYTES_MAX,
        spin_count: int = SPIN_COUNT,
    ) -> None:
        """`spool_dir` is where large packages wait, the system's own place by default; `size_bytes_max` bounds them there.

        Raises ValueError for a password that is empty, too long, or half a character.
        """
        self._sink = sink
        self._size_bytes_max = min(size_bytes_max, SIZE_BYTES_MAX)
        self._lock = _Lock(password, spin_count)
        self._spool = tempfile.SpooledTemporaryFile(SPOOL_MEMORY_BYTES_MAX, dir=spool_dir)  # noqa: SIM115 (see __exit__)
        self._waiting = bytearray()
        self._segments = 0
        self._size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def write(self, data: bytes) -> None:
        """Adds to the package. Raises FileFullError."""
        self._size_bytes += len(data)
        if self._size_bytes > self._size_bytes_max:
            raise FileFullError(f"an encrypted file has at most {self._size_bytes_max} bytes")
        self._waiting += data
        whole = len(self._waiting) // _SEGMENT_BYTES * _SEGMENT_BYTES
        if whole >= _SEGMENTS_AT_A_TIME * _SEGMENT_BYTES:
            self._encrypt(whole)

    def close(self) -> int:
        """Sends the encrypted file; its size. Raises FileFullError."""
        self._waiting += bytes(-len(self._waiting) % _BLOCK_BYTES)
        self._encrypt(len(self._waiting))
        package_bytes = 8 + self._spool.tell()
        code = hmac.new(self._lock.hmac_key, digestmod=hashlib.sha512)
        info_bytes = len(self._lock.info(bytes(_HASH_BYTES)))
        return write_compound(
            self._sink,
            [
                Stream(("EncryptedPackage",), package_bytes, partial(self._package, code)),
                Stream(("EncryptionInfo",), info_bytes, lambda: [self._lock.info(code.digest())]),
                *(Stream(path, len(content), partial(iter, [content])) for path, content in _DATA_SPACES.items()),
            ],
        )

    def _encrypt(self, size_bytes: int) -> None:
        with memoryview(self._waiting) as waiting:
            for start in range(0, size_bytes, _SEGMENT_BYTES):
                segment = waiting[start : min(start + _SEGMENT_BYTES, size_bytes)]
                self._spool.write(self._lock.segment(self._segments, segment))
                self._segments += 1
                segment.release()
        del self._waiting[:size_bytes]

    def _package(self, code: "hmac.HMAC") -> Iterator[bytes]:
        self._spool.seek(0)
        part = struct.pack("<Q", self._size_bytes)
        while part:
            code.update(part)
            yield part
            part = self._spool.read(_COPIED_BYTES)


class _Lock:
    """The keys of one file: a random one for its content, itself encrypted by one that the password makes."""

    def __init__(self, password: str, spin_count: int) -> None:
        secret = password.encode("utf-16-le")
        if not 0 < len(secret) <= 2 * PASSWORD_CHARACTERS_MAX:
            raise ValueError(f"a password has 1 to {PASSWORD_CHARACTERS_MAX} characters")
        self._key, self._salt, self.hmac_key = os.urandom(_KEY_BYTES), os.urandom(_BLOCK_BYTES), os.urandom(_HASH_BYTES)
        self._spin_count = spin_count
        self._password_salt = os.urandom(_BLOCK_BYTES)
        spun = _spun(self._password_salt + secret, spin_count)
        verifier = os.urandom(_BLOCK_BYTES)
        self._encrypted_key = self._by_password(spun, _FOR_KEY, self._key)
        self._encrypted_verifier = self._by_password(spun, _FOR_VERIFIER, verifier)
        self._encrypted_verifier_hash = self._by_password(spun, _FOR_VERIFIER_HASH, hashlib.sha512(verifier).digest())

    def segment(self, number: int, content: "bytes | memoryview") -> bytes:
        """A segment of the package: 4,096 bytes, the last one whole blocks."""
        return self._by_key(struct.pack("<I", number), content)

    def info(self, code: bytes) -> bytes:
        """The stream that tells a reader how to open the file, and by `code` whether it is whole."""
        agile = (
            f'saltSize="{_BLOCK_BYTES}" blockSize="{_BLOCK_BYTES}" keyBits="{8 * _KEY_BYTES}" hashSize="{_HASH_BYTES}"'
            ' cipherAlgorithm="AES" cipherChaining="ChainingModeCBC" hashAlgorithm="SHA512"'
        )
        encryption = "http://schemas.microsoft.com/office/2006/encryption"
        by_word = "http://schemas.microsoft.com/office/2006/keyEncryptor/password"
        xml = (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n'
            f'<encryption xmlns="{encryption}" xmlns:p="{by_word}">'
            f'<keyData {agile} saltValue="{_base64(self._salt)}"/>'
            f'<dataIntegrity encryptedHmacKey="{_base64(self._by_key(_FOR_HMAC_KEY, self.hmac_key))}"'
            f' encryptedHmacValue="{_base64(self._by_key(_FOR_HMAC, code))}"/>'
            f'<keyEncryptors><keyEncryptor uri="{by_word}"><p:encryptedKey spinCount="{self._spin_count}" {agile}'
            f' saltValue="{_base64(self._password_salt)}"'
            f' encryptedVerifierHashInput="{_base64(self._encrypted_verifier)}"'
            f' encryptedVerifierHashValue="{_base64(self._encrypted_verifier_hash)}"'
            f' encryptedKeyValue="{_base64(self._encrypted_key)}"/></keyEncryptor></keyEncryptors></encryption>'
        )
        return struct.pack("<HHI", 4, 4, 0x40) + xml.encode()

    def _by_key(self, purpose: bytes, content: "bytes | memoryview") -> bytes:
        vector = hashlib.sha512(self._salt + purpose).digest()[:_BLOCK_BYTES]
        return _encrypted(self._key, vector, content)

    def _by_password(self, spun: bytes, purpose: bytes, content: bytes) -> bytes:
        return _encrypted(hashlib.sha512(spun + purpose).digest()[:_KEY_BYTES], self._password_salt, content)


def _spun(salted: bytes, spin_count: int) -> bytes:
    spun = hashlib.sha512(salted).digest()
    for number in range(spin_count):
        spun = hashlib.sha512(number.to_bytes(4, "little") + spun).digest()
    return spun


def _encrypted(key: bytes, vector: bytes, content: "bytes | memoryview") -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return encryptor.update(content) + encryptor.finalize()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _counted(text: str) -> bytes:
    content = text.encode("utf-16-le")
    return struct.pack("<I", len(content)) + content + bytes(-len(content) % 4)


_SPACE, _TRANSFORM = "StrongEncryptionDataSpace", "StrongEncryptionTransform"
_VERSIONS = struct.pack("<6H", 1, 0, 1, 0, 1, 0)
_MAPPED = struct.pack("<II", 1, 0) + _counted("EncryptedPackage") + _counted(_SPACE)
_TRANSFORM_ID = struct.pack("<I", 1) + _counted("{FF9A3F03-56EF-4613-BDD5-5A41C1D07246}")
_DATA_SPACES = {
    ("\x06DataSpaces", "Version"): _counted("Microsoft.Container.DataSpaces") + _VERSIONS,
    ("\x06DataSpaces", "DataSpaceMap"): struct.pack("<III", 8, 1, 4 + len(_MAPPED)) + _MAPPED,
    ("\x06DataSpaces", "DataSpaceInfo", _SPACE): struct.pack("<II", 8, 1) + _counted(_TRANSFORM),
    ("\x06DataSpaces", "TransformInfo", _TRANSFORM, "\x06Primary"): (
        struct.pack("<I", 4 + len(_TRANSFORM_ID))
        + _TRANSFORM_ID
        + _counted("Microsoft.Container.EncryptionTransform")
        + _VERSIONS
        + struct.pack("<IIII", 0, 0, 0, 4)
    ),
}
"""What is the same in every encrypted package ([MS-OFFCRYPTO] 2.2): that its content is encrypted, and by what."""
