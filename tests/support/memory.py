"""A folder in memory, for servers whose files no test wants to see again: making and dropping databases is all files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from breakwater.local.directories import DataDirectory
from breakwater.local.errors import DirectoryInUseError

MEMORY = Path("/dev/shm")  # noqa: S108 - what is below is locked, and closed to others
FREE_BYTES_MIN = 2 << 30
SESSIONS_MAX = 16


@contextmanager
def folder_in_memory(otherwise: Path, *, memory: Path = MEMORY, free_bytes_min: int = FREE_BYTES_MIN) -> Iterator[Path]:
    """An empty folder in memory for the block's time, or `otherwise` where less than `free_bytes_min` is free.

    What a killed session left in its folder goes when the next one takes that.
    """
    if not memory.is_dir() or shutil.disk_usage(memory).free < free_bytes_min:
        yield otherwise
        return
    taken = _taken(memory)
    try:
        taken.clear()
        yield taken.path
    finally:
        taken.clear()
        taken.close()


def _taken(memory: Path) -> DataDirectory:
    for number in range(SESSIONS_MAX):
        with suppress(DirectoryInUseError):
            return DataDirectory(memory / f"breakwater-tests-of-{os.getuid()}-{number}", patience_s=0)
    raise DirectoryInUseError(f"{SESSIONS_MAX} sessions of tests run already.")
