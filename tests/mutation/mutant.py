"""A change of the tree, with its own label: which dimension it breaks, and for whom."""

import ast
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from breakwater.compat import artifacts

ROOT = Path(__file__).parents[2]
KEPT = ("libs", "services", "proto", "contracts", "deploy")
ENVIRONMENT = "prod"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`edits` are new contents by path. `consumers`: any of them may be named by the first line of the NO."""

    name: str
    service: str
    """The candidate."""
    dimension: str
    """proto, auth, http or events."""
    consumers: tuple[str, ...]
    edits: dict[str, str] = field(repr=False)
    compatible: bool = False

    @property
    def touches_protos(self) -> bool:
        """Whether stubs are made anew and buf looks again."""
        return any(path.startswith("proto/") for path in self.edits)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the tree to change in places."""

    path: str
    text: str

    @classmethod
    def of(cls, path: str) -> "Source":
        """Of the tree as it is."""
        return cls(path, (ROOT / path).read_text(encoding="utf-8"))

    def replaced(self, old: str, new: str, count: int = 1) -> dict[str, str]:
        """The edit that replaces the first `old`. Raises `LookupError` where there is none: a corpus must not shrink unseen."""
        if old not in self.text:
            raise LookupError(f"{self.path} holds no {old!r}")
        return {self.path: self.text.replace(old, new, count)}

    def with_node(self, node: ast.expr, new: str) -> dict[str, str]:
        """The edit that puts `new` in the place of an expression."""
        lines = self.text.splitlines(keepends=True)
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line.encode()))
        content = self.text.encode()
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        return {self.path: (content[:begin] + new.encode() + content[end:]).decode()}

    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    def segment(self, node: ast.AST) -> str:
        """The text of a node."""
        return ast.get_source_segment(self.text, node) or ""


def deployed(service: str) -> Path:
    """Where the release of a service that runs in production is described."""
    return artifacts.deployed(ROOT / "contracts", ROOT / "deploy/lock.yaml", ENVIRONMENT, service)[-1].directory


def walk(node: ast.AST, kind: Any) -> Iterator[Any]:
    """The nodes of one kind, in the order they are written."""
    found = [each for each in ast.walk(node) if isinstance(each, kind)]
    yield from sorted(found, key=lambda each: (getattr(each, "lineno", 0), getattr(each, "col_offset", 0)))


def base(place: Path) -> Path:
    """A copy of the tree that mutants are made from, compiled once."""
    for name in KEPT:
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        ["python3", "-m", "compileall", "-q", "libs", "services"], cwd=place, check=False, capture_output=True
    )
    return place


def planted(original: Path, place: Path, mutant: Mutant) -> Path:
    """The tree with the mutant: links to what is the same, files of its own where it differs; stubs made anew."""
    shutil.copytree(original, place, copy_function=os.link)
    for path, content in mutant.edits.items():
        file = place / path
        file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    if mutant.touches_protos:
        _make_stubs(place, [path for path in mutant.edits if path.startswith("proto/")])
    return place


def _make_stubs(place: Path, paths: list[str]) -> None:
    from grpc_tools import _proto, protoc  # noqa: PLC0415 - half a second, for protos only

    for path in paths:
        stub = place / "libs" / path.removeprefix("proto/").replace(".proto", "_pb2.py")
        for file in (stub, stub.with_name(f"{stub.stem}_grpc.py")):
            file.unlink(missing_ok=True)
    arguments = [
        "",
        f"-I{place / 'proto'}",
        f"-I{next(iter(_proto.__path__))}",
    ]
    arguments += [
        f"--python_out={place / 'libs'}",
        f"--grpc_python_out={place / 'libs'}",
        *(str(place / path) for path in paths),
    ]
    if protoc.main(arguments) != 0:
        raise LookupError(f"protoc does not take {', '.join(paths)}")
