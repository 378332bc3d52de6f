"""A compound file ([MS-CFB], version 3) as a stream that never seeks: what Office keeps an encrypted workbook in.

All sizes are known before the first byte, so the tables come first and a stream's content is asked for when its place is
reached: large ones in their order, then the small ones (below 4,096 bytes, which live in pieces of 64), at last the
directory. A content may thus depend on those before it.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from breakwater.sheets.columns import Sink
from breakwater.sheets.zip32 import FileFullError

SIZE_BYTES_MAX = 0x7FFF_FF00
"""Where version 3 ends. Version 4 holds more, and not every reader knows it."""

_SECTOR_BYTES, _PIECE_BYTES, _SMALL_BYTES = 512, 64, 4_096
_NUMBERS = _SECTOR_BYTES // 4  # sector numbers that a sector of a table holds
_NUMBERS_IN_HEADER = 109
_NUMBERS_AT_A_TIME = 64 * _NUMBERS
_FREE, _END, _OF_TABLE, _OF_LIST = 0xFFFF_FFFF, 0xFFFF_FFFE, 0xFFFF_FFFD, 0xFFFF_FFFC
_STORAGE, _STREAM, _ROOT = 1, 2, 5
_RED, _BLACK = 0, 1
_ENTRY = struct.Struct("<64sHBBIII16sI16sIQ")


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream: the storages above it and its own name, its size, and who gives its content when its turn comes."""

    path: tuple[str, ...]
    size_bytes: int
    content: Callable[[], Iterable[bytes]]

    @property
    def is_small(self) -> bool:
        return self.size_bytes < _SMALL_BYTES


def write_compound(sink: Sink, streams: Sequence[Stream]) -> int:
    """Writes the file; its size. Raises FileFullError, ValueError where a content is not as long as was said."""
    large = [stream for stream in streams if not stream.is_small]
    small = [stream for stream in streams if stream.is_small]
    pieces = [_units(stream.size_bytes, _PIECE_BYTES) for stream in small]
    root = _tree(streams)
    chains = [
        *(_units(stream.size_bytes, _SECTOR_BYTES) for stream in large),
        _units(sum(pieces) * _PIECE_BYTES, _SECTOR_BYTES),
        _units(sum(pieces), _NUMBERS),
        _units(len(root.with_all_below()) * _ENTRY.size, _SECTOR_BYTES),
    ]
    tables, lists = _tables(sum(chains))
    size_bytes = (1 + tables + lists + sum(chains)) * _SECTOR_BYTES
    if size_bytes > SIZE_BYTES_MAX:
        raise FileFullError(f"an encrypted file has at most {SIZE_BYTES_MAX} bytes")
    *large_starts, piece_stream, piece_table, directory = _starts(chains, tables + lists)
    root.start, root.size_bytes = piece_stream, sum(pieces) * _PIECE_BYTES
    for stream, start in (*zip(large, large_starts, strict=True), *zip(small, _starts(pieces, 0), strict=True)):
        node = root.find(stream.path)
        node.start, node.size_bytes = start, stream.size_bytes

    sink(_header(tables, lists, directory, piece_table, chains[-2]))
    marks = struct.pack(f"<{tables}I", *[_OF_TABLE] * tables) + struct.pack(f"<{lists}I", *[_OF_LIST] * lists)
    for part in _whole_sectors(marks, _numbers(chains, tables + lists)):
        sink(part)
    for number in range(lists):
        sink(_list(number, tables, lists))
    for stream in large:
        _copy(sink, stream, _SECTOR_BYTES)
    for stream in small:
        _copy(sink, stream, _PIECE_BYTES)
    sink(bytes(-sum(pieces) * _PIECE_BYTES % _SECTOR_BYTES))
    for part in _whole_sectors(b"", _numbers(pieces, 0)):
        sink(part)
    sink(_directory(root))
    return size_bytes


@dataclass(slots=True)
class _Node:
    """An entry of the directory, and by name what is below it."""

    name: str
    kind: int
    start: int = 0
    size_bytes: int = 0
    below: "dict[str, _Node]" = field(default_factory=dict)

    def with_all_below(self) -> "list[_Node]":
        return [self, *(each for node in self.below.values() for each in node.with_all_below())]

    def find(self, path: tuple[str, ...]) -> "_Node":
        return self.below[path[0]].find(path[1:]) if path else self


def _tree(streams: Iterable[Stream]) -> _Node:
    root = _Node("Root Entry", _ROOT)
    for stream in streams:
        node = root
        for name in stream.path:
            node = node.below.setdefault(name, _Node(name, _STORAGE))
        node.kind = _STREAM
    return root


def _units(size: int, unit: int) -> int:
    return -(-size // unit)


def _starts(chains: Sequence[int], first: int) -> list[int]:
    return [first + sum(chains[:index]) for index in range(len(chains))]


def _tables(sectors: int) -> tuple[int, int]:
    # Sectors of the table, which counts itself, and of the list of those that the header has no room for.
    tables = lists = 0
    while True:
        wanted = _units(sectors + tables + lists, _NUMBERS)
        wanted_lists = _units(max(0, wanted - _NUMBERS_IN_HEADER), _NUMBERS - 1)
        if (wanted, wanted_lists) == (tables, lists):
            return tables, lists
        tables, lists = wanted, wanted_lists


def _numbers(chains: Iterable[int], first: int) -> Iterator[bytes]:
    """For each unit of each chain the number of the next one."""
    for length in filter(None, chains):
        last = first + length - 1
        for start in range(first, last, _NUMBERS_AT_A_TIME):
            end = min(start + _NUMBERS_AT_A_TIME, last)
            yield struct.pack(f"<{end - start}I", *range(start + 1, end + 1))
        yield struct.pack("<I", _END)
        first = last + 1


def _whole_sectors(head: bytes, parts: Iterable[bytes]) -> Iterator[bytes]:
    size_bytes = len(head)
    yield head
    for part in parts:
        size_bytes += len(part)
        yield part
    yield b"\xff" * (-size_bytes % _SECTOR_BYTES)


def _header(tables: int, lists: int, directory: int, piece_table: int, piece_tables: int) -> bytes:
    known = range(min(tables, _NUMBERS_IN_HEADER))
    return struct.pack(
        f"<8s16sHHHHH6s9I{_NUMBERS_IN_HEADER}I",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, bytes(6)),
        *(0, tables, directory, 0, _SMALL_BYTES),
        *(piece_table if piece_tables else _END, piece_tables, tables if lists else _END, lists),
        *known,
        *[_FREE] * (_NUMBERS_IN_HEADER - len(known)),
    )


def _list(number: int, tables: int, lists: int) -> bytes:
    first = _NUMBERS_IN_HEADER + number * (_NUMBERS - 1)
    listed = range(first, min(first + _NUMBERS - 1, tables))
    following = tables + number + 1 if number + 1 < lists else _END
    return struct.pack(f"<{_NUMBERS}I", *listed, *[_FREE] * (_NUMBERS - 1 - len(listed)), following)


def _copy(sink: Sink, stream: Stream, unit: int) -> None:
    size_bytes = 0
    for part in stream.content():
        size_bytes += len(part)
        sink(part)
    if size_bytes != stream.size_bytes:
        raise ValueError(f"{stream.path[-1]} has {size_bytes} bytes, not {stream.size_bytes}")
    sink(bytes(-size_bytes % unit))


def _directory(root: _Node) -> bytes:
    nodes = root.with_all_below()
    places = {id(node): place for place, node in enumerate(nodes)}
    children, links = {}, {id(root): (_BLACK, _FREE, _FREE)}
    for node in nodes:
        siblings = [places[id(each)] for each in sorted(node.below.values(), key=_order)]
        height = len(siblings).bit_length()
        children[id(node)] = _link(siblings, 1, height, links, nodes)
    entries = [_entry(node, *links[id(node)], children[id(node)]) for node in nodes]
    free = _ENTRY.pack(b"", 0, 0, 0, _FREE, _FREE, _FREE, b"", 0, b"", 0, 0)
    return b"".join(entries + [free] * (-len(entries) % (_SECTOR_BYTES // _ENTRY.size)))


def _link(
    siblings: list[int], level: int, height: int, links: dict[int, tuple[int, int, int]], nodes: list[_Node]
) -> int:
    # A red-black tree over what is sorted: the halves differ by one at most, so only the last level is not full, and red.
    if not siblings:
        return _FREE
    middle = len(siblings) // 2
    left = _link(siblings[:middle], level + 1, height, links, nodes)
    right = _link(siblings[middle + 1 :], level + 1, height, links, nodes)
    full = len(siblings) & (len(siblings) + 1) == 0
    color = _RED if level == height and level > 1 and not full else _BLACK
    links[id(nodes[siblings[middle]])] = (color, left, right)
    return siblings[middle]


def _order(node: _Node) -> tuple[int, str]:
    # [MS-CFB] 2.6.4: shorter names first, then by upper case.
    return len(node.name.encode("utf-16-le")), node.name.upper()


def _entry(node: _Node, color: int, left: int, right: int, child: int) -> bytes:
    name = node.name.encode("utf-16-le") + b"\0\0"
    return _ENTRY.pack(name, len(name), node.kind, color, left, right, child, b"", 0, b"", node.start, node.size_bytes)
