"""The files of the local engine on disk: one for each export, bounded in age and in size together."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

_CHUNK_SIZE_BYTES = 256 * 1024
_PARTIAL_AGE_MAX = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Scratch:
    """`directory` is ours alone. What is older than `keep`, or too much, goes, the oldest first."""

    directory: Path
    keep: timedelta
    size_bytes_max: int

    def path(self, export_id: str, file_format: str) -> Path:
        """Where the file of an export is, or will be."""
        return self.directory / f"{export_id}.{file_format}"

    def make_room(self, now: datetime) -> None:
        """Removes what is over the limits, and what a killed engine left behind."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept_bytes = 0
        found = sorted(((path.stat(), path) for path in self.directory.iterdir()), key=lambda each: -each[0].st_mtime)
        for status, path in found:
            age = timedelta(seconds=now.timestamp() - status.st_mtime)
            kept_bytes += status.st_size
            too_old = age > (_PARTIAL_AGE_MAX if path.suffix == ".partial" else self.keep)
            if too_old or kept_bytes > self.size_bytes_max:
                path.unlink(missing_ok=True)
                kept_bytes -= status.st_size

    async def read(self, path: Path, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """Part of a file in chunks. Raises `FileNotFoundError` before the first one when its time is over."""
        # Read on the loop: a chunk comes from the page cache in tens of microseconds, a thread's hop costs more.
        with path.open("rb") as file:
            file.seek(offset)
            while length > 0 and (chunk := file.read(min(_CHUNK_SIZE_BYTES, length))):
                length -= len(chunk)
                yield chunk
