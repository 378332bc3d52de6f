"""A multipart upload on its way to a service: parsed as it arrives and spooled to disk, never whole in memory.

Spooled, because the fields may come after the file (`curl -F file=@… -F mapping=…`) while the service wants them first,
and because an Idempotency-Key covers the whole content.
"""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from breakwater.chassis.errors import FieldError, InvalidRequestError, PayloadTooLargeError
from services.gateway.http.call import Call
from services.gateway.http.problems import MalformedBodyError, UnsupportedMediaTypeError

FIELD_SIZE_BYTES_MAX = 64 * 1024
"""A text field, such as a mapping document."""
_PARTS_MAX = 8
_PART_HEADERS_MAX = 8
_PART_HEADER_SIZE_BYTES_MAX = 1024
_CHUNK_SIZE_BYTES = 512 * 1024


@dataclass(slots=True)
class Upload:
    """What came: one file, on disk until the upload is closed, and text fields."""

    spool: IO[bytes]
    filename: str = ""
    size_bytes: int = 0
    sha256: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file from its beginning."""
        self.spool.seek(0)
        while chunk := self.spool.read(_CHUNK_SIZE_BYTES):
            yield chunk

    def canonical_fields(self) -> bytes:
        """The same bytes for the same request, whatever boundary its client made up."""
        return repr(sorted(self.fields.items())).encode() + b"\0" + self.filename.encode()

    def close(self) -> None:
        """Removes the file."""
        self.spool.close()


async def receive(
    call: Call, *, file_field: str, text_fields: frozenset[str], size_bytes_max: int, directory: Path
) -> Upload:
    """The upload, to be closed by the caller.

    Raises `UnsupportedMediaTypeError`, `PayloadTooLargeError`, `MalformedBodyError`, and `InvalidRequestError` for an
    unknown or missing part.
    """
    kind, options = parse_options_header(call.raw_headers.get(b"content-type", b""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise UnsupportedMediaTypeError("the body must be multipart/form-data with a boundary")
    # Unnamed and gone with the process, however that ends.
    upload = Upload(tempfile.TemporaryFile(dir=directory))  # noqa: SIM115 - closed by the caller
    parts = _Parts(upload, file_field, text_fields)
    try:
        parser = MultipartParser(
            options[b"boundary"],
            parts.callbacks(),
            max_header_count=_PART_HEADERS_MAX,
            max_header_size=_PART_HEADER_SIZE_BYTES_MAX,
        )
        async for piece in call.pieces(size_bytes_max):
            parser.write(piece)
        parser.finalize()
        parts.finish()
    except FormParserError:
        upload.close()
        raise MalformedBodyError("the body is not valid multipart/form-data") from None
    except BaseException:
        upload.close()
        raise
    return upload


class _Parts:
    """Follows the parser: one part at a time, its headers first."""

    def __init__(self, upload: Upload, file_field: str, text_fields: frozenset[str]) -> None:
        self._upload = upload
        self._file_field = file_field
        self._text_fields = text_fields
        self._digest = hashlib.sha256()
        self._ended = False
        self._seen: set[str] = set()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._text = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def finish(self) -> None:
        """Raises for what is missing."""
        if not self._ended:
            raise MalformedBodyError("the multipart body ends before its last boundary")
        if self._file_field not in self._seen:
            raise InvalidRequestError("there is no file", errors=(FieldError(self._file_field, "is missing"),))
        self._upload.sha256 = self._digest.digest()

    def _begin(self) -> None:
        self._headers = {}
        self._text = bytearray()
        if len(self._seen) >= _PARTS_MAX:
            raise InvalidRequestError(f"more than {_PARTS_MAX} parts")

    def _header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != self._file_field and name not in self._text_fields:
            raise InvalidRequestError(
                "an unknown part", errors=(FieldError(name[:100] or "body", "is not a part of this request"),)
            )
        if name in self._seen:
            raise InvalidRequestError("a part came twice", errors=(FieldError(name, "must be sent once"),))
        self._seen.add(name)
        self._name = name
        if name == self._file_field:
            self._upload.filename = options.get(b"filename", b"").decode("utf-8", "replace")[:255]

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._name == self._file_field:
            self._upload.spool.write(piece)
            self._upload.size_bytes += len(piece)
            self._digest.update(piece)
            return
        self._text += piece
        if len(self._text) > FIELD_SIZE_BYTES_MAX:
            raise PayloadTooLargeError(f"the part {self._name} is larger than {FIELD_SIZE_BYTES_MAX} bytes")

    def _end(self) -> None:
        if self._name == self._file_field:
            return
        try:
            self._upload.fields[self._name] = self._text.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidRequestError(
                "a part is not UTF-8", errors=(FieldError(self._name, "must be UTF-8"),)
            ) from None

    def _all(self) -> None:
        self._ended = True
