"""The fonts documents are set in: Noto, from two packages of wheels, and which characters they have."""

import re
import struct
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = ("manimgx_fonts_cjk", "manimgx_fonts")
"""Noto Sans CJK in all weights with 44,810 characters; Noto Emoji, Noto Sans and its like for other scripts."""
_LAST_BMP = 0xFFFF


def folders() -> list[Path]:
    """Where the font files are. Raises LookupError when a package is not installed."""
    found = [find_spec(package) for package in PACKAGES]
    origins = [spec.origin for spec in found if spec and spec.origin]
    if len(origins) != len(PACKAGES):
        raise LookupError(f"the fonts are not installed: {', '.join(PACKAGES)}")
    return [Path(origin).parent for origin in origins]


@cache
def missing() -> re.Pattern[str]:
    """Finds characters that no font has."""
    spans: set[tuple[int, int]] = set()
    for folder in folders():
        for path in sorted(folder.glob("*.tt[cf]")):
            spans |= set(_spans(path.read_bytes()))
    return re.compile("[^" + "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in _merged(spans)) + "]")


def _merged(spans: set[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _spans(font: bytes) -> Iterator[tuple[int, int]]:
    # OpenType 1.9.1: the first font of a collection stands for all of it, they share their characters.
    start = struct.unpack_from(">I", font, 12)[0] if font[:4] == b"ttcf" else 0
    (tables,) = struct.unpack_from(">H", font, start + 4)
    for table in range(tables):
        tag, _, offset, _ = struct.unpack_from(">4sIII", font, start + 12 + 16 * table)
        if tag == b"cmap":
            yield from _cmap(font, offset)


def _cmap(font: bytes, cmap: int) -> Iterator[tuple[int, int]]:
    (subtables,) = struct.unpack_from(">H", font, cmap + 2)
    for number in range(subtables):
        (offset,) = struct.unpack_from(">I", font, cmap + 8 + 8 * number)
        place = cmap + offset
        (format_,) = struct.unpack_from(">H", font, place)
        if format_ == 4:  # noqa: PLR2004 (segment mapping, of the first 65,536 characters)
            (doubled,) = struct.unpack_from(">H", font, place + 6)
            lasts = struct.unpack_from(f">{doubled // 2}H", font, place + 14)
            firsts = struct.unpack_from(f">{doubled // 2}H", font, place + 16 + doubled)
            yield from ((first, last) for first, last in zip(firsts, lasts, strict=True) if first != _LAST_BMP)
        elif format_ == 12:  # noqa: PLR2004 (segmented coverage, of all characters)
            (groups,) = struct.unpack_from(">I", font, place + 12)
            for group in range(groups):
                first, last, _ = struct.unpack_from(">III", font, place + 16 + 12 * group)
                yield first, last
