"""What the processes print: each line to a bounded file of its process, and prefixed to our standard error."""

import asyncio
import contextlib
import json
import os
import queue
import re
import sys
import threading
from pathlib import Path
from typing import IO

LINE_SIZE_BYTES_MAX = 64 * 1024
FILE_SIZE_BYTES_MAX = 10 << 20
FILES_MAX = 2
CONSOLE_LINES_MAX = 10_000
READ_SIZE_BYTES = 64 * 1024

# Readable on light and dark backgrounds; red is left to errors.
COLOURS = (36, 33, 32, 35, 34, 96, 92, 95)
ERROR_COLOUR = 31

# Fields of a structured line that the prefix and the moment of reading tell; the file has them.
SAID_ALREADY = frozenset({"timestamp", "service", "instance", "logger", "color_message"})
# What nats-server and PostgreSQL say in the course of nature: in their files, not on the screen.
ROUTINE = re.compile(rb"\[\d+\] \[INF\]|LOG:  ")


class ProcessLog:
    """The log of one process: `directory/<name>.log`, rotated once when it is full."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}.log"
        self._file: IO[bytes] | None = None
        self._size_bytes = 0

    def write(self, line: bytes) -> None:
        """Adds a line. What the disk has no room for is dropped: a log must not stop the platform."""
        try:
            if self._file is None:
                self._open()
            elif self._size_bytes > FILE_SIZE_BYTES_MAX:
                self.close()
                self.path.replace(self.path.with_suffix(".log.1"))
                self._open()
            assert self._file is not None  # noqa: S101 - opened above
            self._file.write(line + b"\n")
            self._size_bytes += len(line) + 1
        except OSError:
            return

    def tail(self, lines: int) -> str:
        """The last lines, for an error message."""
        try:
            content = self.path.read_bytes()[-LINE_SIZE_BYTES_MAX:]
        except OSError:
            return ""
        return "\n".join(content.decode(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Closes the file; a later line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self._file = self.path.open("ab", buffering=0)
        self._size_bytes = self.path.stat().st_size


class Console:
    """Prefixed lines on standard error, written by a thread of its own.

    A terminal that is stopped, or a pipe nobody reads, must not hold up the platform: past `CONSOLE_LINES_MAX` waiting
    lines the newest are dropped here (not in the files), and how many is said when there is room again.
    """

    def __init__(self, stream: IO[str] | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._colours = "NO_COLOR" not in os.environ and self._stream.isatty()
        self._prefixes: dict[str, str] = {}
        self._lines: queue.Queue[str | None] = queue.Queue(CONSOLE_LINES_MAX)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="console", daemon=True)
        self._writer.start()

    def line(self, name: str, text: str, *, error: bool = False) -> None:
        """One line of the process `name`; control characters are made harmless."""
        if self._quiet and not error:
            return
        safe = "".join(character if character.isprintable() or character == "\t" else "�" for character in text)
        if error and self._colours:
            safe = f"\x1b[{ERROR_COLOUR}m{safe}\x1b[0m"
        if self._dropped and not self._lines.full():
            safe, self._dropped = f"({self._dropped} lines not shown)\n{self._prefix(name)}{safe}", 0
        try:
            self._lines.put_nowait(f"{self._prefix(name)}{safe}\n")
        except queue.Full:
            self._dropped += 1

    def banner(self, text: str) -> None:
        """Several lines as they are, after everything written so far."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(text)

    def close(self, timeout_s: float = 2.0) -> None:
        """Writes what is waiting, for at most `timeout_s` seconds."""
        try:
            self._lines.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._writer.join(timeout_s)

    def _prefix(self, name: str) -> str:
        if name not in self._prefixes:
            text = f"{name:>9} | "
            colour = COLOURS[len(self._prefixes) % len(COLOURS)]
            self._prefixes[name] = f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text
        return self._prefixes[name]

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                # Nobody reads any more; the files go on.
                self._quiet = True


async def follow(stream: asyncio.StreamReader, name: str, log: ProcessLog, console: Console) -> None:
    """Copies lines until the stream ends. A line past the limit is cut into several."""
    rest = b""
    while chunk := await stream.read(READ_SIZE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_SIZE_BYTES_MAX:
            lines, rest = [*lines, rest], b""
        for line in lines:
            _copy(line, name, log, console)
    if rest:
        _copy(rest, name, log, console)


def _copy(line: bytes, name: str, log: ProcessLog, console: Console) -> None:
    log.write(line)
    if not ROUTINE.match(line):
        console.line(name, readable(line))


def readable(line: bytes) -> str:
    """A structured line (chassis.logging) as a person reads it: event and fields; any other line as it is."""
    if line.startswith(b"{"):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            level, event = entry.pop("level", "info"), entry.pop("event", "")
            fields = " ".join(f"{key}={value}" for key, value in entry.items() if key not in SAID_ALREADY)
            return f"{level.upper() + ' ' if level != 'info' else ''}{event} {fields}".rstrip()
    return line.decode(errors="replace")
