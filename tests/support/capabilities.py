"""Which tests carry which catalogue ids, and the table of docs/capabilities.md they are held against.

`python -m tests.support.capabilities` writes the tests' column of the table anew (`make capabilities`).
"""

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "capabilities.md"
STATES = ("whole", "part", "open")
_ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| (\w+) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One capability of the catalogue (domain.md)."""

    id: int
    title: str
    state: str
    places: tuple[str, ...]
    tests: tuple[str, ...]


def marked() -> dict[int, set[str]]:
    """Ids and the test files that carry their marker, on a test, or on the whole file."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.capability":
                for argument in node.args:
                    found[ast.literal_eval(argument)].add(str(path.relative_to(ROOT)))
    return found


def rows() -> list[Row]:
    """The table as it stands."""
    return [
        Row(int(id_), title.strip(), state, _cells(places), _cells(tests))
        for id_, title, state, places, tests in _ROW.findall(TABLE.read_text(encoding="utf-8"))
    ]


def _cells(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", text))


def rewrite() -> None:
    """Puts the tests that carry the markers into the table."""
    carried = marked()

    def row(match: re.Match[str]) -> str:
        id_, title, state, places, _ = match.groups()
        tests = ", ".join(f"`{test}`" for test in sorted(carried.get(int(id_), ())))
        return f"| {id_} | {title} | {state} | {places.strip()} | {tests} |"

    TABLE.write_text(_ROW.sub(row, TABLE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
