"""What the files process and an encoder process say to each other over a socket: a kind, a length, and so many bytes.

An end is always said: a stream that just ends means that the other side died, and no file is taken for finished then.
"""

import struct
from enum import IntEnum
from typing import BinaryIO, Final

CELL_END: Final = "\x1f"
ROW_END: Final = "\x1e"
"""Between the cells of a packed row, and after each row (leads.proto, StreamDatasetResponse.packed_rows)."""
HEADER: Final = struct.Struct("<BI")
PROGRESS: Final = struct.Struct("<QQ")
"""Rows written, rows in all (0 until known)."""


class Kind(IntEnum):
    """What a frame holds."""

    ORDER = 1
    """To the encoder, first: JSON, see `encoder.Order`."""
    CHUNK = 2
    """To the encoder: a serialised StreamDatasetResponse."""
    CONTENT = 3
    """From the encoder: a piece of the file."""
    PROGRESS = 4
    """From the encoder."""
    REFUSED = 5
    """From the encoder, last: JSON of `code` and `detail`; the rows cannot be such a file."""
    END = 6
    """Last, in either direction: it was all."""
    DOCUMENT = 7
    """From the encoder: JSON of `documents.domain.Stamp`; what the document is made by."""
    DEFECT = 8
    """From the encoder, last: where it failed, as text for a log."""


def frame(kind: Kind, content: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(kind, len(content)) + content


def read_frame(source: BinaryIO) -> tuple[Kind, bytes]:
    """The next frame. Raises EOFError when the other side is gone."""
    kind, length = HEADER.unpack(_exactly(source, HEADER.size))
    return Kind(kind), _exactly(source, length)


def _exactly(source: BinaryIO, length: int) -> bytes:
    content = source.read(length)
    if len(content) != length:
        raise EOFError
    return content
