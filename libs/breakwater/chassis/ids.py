"""Identifiers that sort by the time they were made: UUID version 7 (RFC 9562, section 5.7). Pure."""

import os
import threading
import time

_COUNTER_MAX = (1 << 12) - 1
_RANDOM_BYTES = 2_048
"""Fetched at a time: asking the kernel for each id gives up the interpreter's lock each time, which costs far more."""
_VARIANT_MASK, _VARIANT = 0x3FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000


class _Sequence:
    """The last millisecond and counter used: ids of one process never run backwards (RFC 9562, 6.2 method 1)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond = 0
        self._counter = 0
        self.forget()

    def forget(self) -> None:
        """Drops the random bytes in store: a forked child must not make its parent's ids."""
        self._random = memoryview(b"")

    def next(self) -> int:
        now = time.time_ns() // 1_000_000
        with self._lock:
            if len(self._random) < 8:  # noqa: PLR2004 - 64 bits
                self._random = memoryview(os.urandom(_RANDOM_BYTES))
            random = int.from_bytes(self._random[:8], "big")
            self._random = self._random[8:]
            if now > self._millisecond:
                self._millisecond = now
                # From the bits the variant overwrites anyway; half of the counter stays free for the millisecond's rest.
                self._counter = random >> 62 << 9
            elif self._counter < _COUNTER_MAX:
                self._counter += 1
            else:
                self._millisecond += 1
                self._counter = 0
            return self._millisecond << 80 | 7 << 76 | self._counter << 64 | _VARIANT | random & _VARIANT_MASK


_sequence = _Sequence()
os.register_at_fork(after_in_child=_sequence.forget)


def uuid7() -> str:
    """A new id, lower-case hexadecimal with hyphens; ids of one process sort in the order they were made."""
    text = _sequence.next().to_bytes(16, "big").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
