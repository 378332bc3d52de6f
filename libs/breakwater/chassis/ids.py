"""Identifiers that sort by the time they were made: UUID version 7 (RFC 9562, section 5.7). Pure."""

import os
import threading
import time

_COUNTER_BITS = 12
_COUNTER_MAX = (1 << _COUNTER_BITS) - 1


class _Sequence:
    """The last millisecond and counter used: ids of one process never run backwards (RFC 9562, 6.2 method 1)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond = 0
        self._counter = 0

    def next(self) -> tuple[int, int]:
        now = time.time_ns() // 1_000_000
        with self._lock:
            if now > self._millisecond:
                self._millisecond = now
                # Half of the counter stays free for the rest of the millisecond.
                self._counter = int.from_bytes(os.urandom(2), "big") >> (17 - _COUNTER_BITS)
            elif self._counter < _COUNTER_MAX:
                self._counter += 1
            else:
                self._millisecond += 1
                self._counter = 0
            return self._millisecond, self._counter


_sequence = _Sequence()


def uuid7() -> str:
    """A new id, lower-case hexadecimal with hyphens; ids of one process sort in the order they were made."""
    millisecond, counter = _sequence.next()
    text = f"{millisecond:012x}7{counter:03x}{_variant(os.urandom(8)):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _variant(random_bytes: bytes) -> int:
    return (int.from_bytes(random_bytes, "big") & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
