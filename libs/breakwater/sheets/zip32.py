"""A ZIP archive as a stream that never seeks: sizes follow each entry in a data descriptor.

Plain ZIP (APPNOTE 6.3.10) without its 64-bit extension, which Excel rejects in local headers; so an entry and the
archive stay below 4 GiB. Entries carry no time, so that equal rows make equal files.
"""

import struct

from breakwater.sheets.columns import Sink
from breakwater.sheets.deflate import Deflate

SIZE_BYTES_MAX = 0xFFFF_FFFF
_FLAGS = 0x0808  # bit 3: a data descriptor follows; bit 11: names are UTF-8
_VERSION = 20
_DEFLATED = 8
_MIDNIGHT, _YEAR_1980 = 0, 0x0021


class FileFullError(Exception):
    """The file would pass 4 GiB, which its format cannot hold."""


class ZipStream:
    """One entry after another: `begin`, `write` ..., `end`; at last `close`."""

    def __init__(self, sink: Sink, deflate: Deflate) -> None:
        self._sink = sink
        self._deflate = deflate
        self._directory: list[bytes] = []
        self.size_bytes = 0

    def begin(self, name: str) -> None:
        """Starts an entry."""
        self._name = name.encode()
        self._entry_offset = self.size_bytes
        self._compressor = self._deflate.start()
        self._crc = 0
        self._compressed_bytes = 0
        self.entry_bytes = 0
        header = struct.pack(
            "<4sHHHHHIIIHH", b"PK\3\4", _VERSION, _FLAGS, _DEFLATED, _MIDNIGHT, _YEAR_1980, 0, 0, 0, len(self._name), 0
        )
        self._emit(header + self._name)

    def write(self, data: bytes) -> None:
        """Adds to the entry. Raises FileFullError."""
        self._crc = self._deflate.crc32(data, self._crc)
        self.entry_bytes += len(data)
        self._emit_content(self._compressor.compress(data))

    def end(self) -> None:
        """Finishes the entry. Raises FileFullError."""
        self._emit_content(self._compressor.flush())
        if self.entry_bytes > SIZE_BYTES_MAX:
            raise FileFullError(f"{self._name.decode()} passes 4 GiB")
        sizes = struct.pack("<III", self._crc, self._compressed_bytes, self.entry_bytes)
        self._emit(b"PK\7\10" + sizes)
        self._directory.append(
            struct.pack("<4sHHHHHH", b"PK\1\2", _VERSION, _VERSION, _FLAGS, _DEFLATED, _MIDNIGHT, _YEAR_1980)
            + sizes
            + struct.pack("<HHHHHII", len(self._name), 0, 0, 0, 0, 0, self._entry_offset)
            + self._name
        )

    def add(self, name: str, content: str) -> None:
        """A whole entry. Raises FileFullError."""
        self.begin(name)
        self.write(content.encode())
        self.end()

    def close(self) -> None:
        """Writes the directory. Raises FileFullError."""
        offset, directory, entries = self.size_bytes, b"".join(self._directory), len(self._directory)
        self._emit(directory)
        self._emit(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, entries, entries, len(directory), offset, 0))

    def _emit_content(self, compressed: bytes) -> None:
        self._compressed_bytes += len(compressed)
        self._emit(compressed)

    def _emit(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self.size_bytes > SIZE_BYTES_MAX:
            raise FileFullError("the file passes 4 GiB")
        if data:
            self._sink(data)
