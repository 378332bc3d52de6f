"""Mapping documents from YAML: every scalar stays text (`Yes` is no boolean here), places are kept, tricks refused."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.intake.imports.mapping import Mapping, Tree, read_mapping

DOCUMENT_BYTES_MAX = 65_536
_SHIPPED = Path(__file__).parent.parent / "mappings"


@dataclass(frozen=True, slots=True)
class _Document:
    tree: Tree
    lines: dict[str, int]


def shipped_mappings() -> list[str]:
    """The names of the mappings that come with us, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def mapping_of(name: str, document: str) -> Mapping:
    """The mapping of an import: that of the document if there is one, else the shipped one of that name."""
    return mapping_from(name, document) if document else shipped_mapping(name)


@cache
def shipped_mapping(name: str) -> Mapping:
    """A shipped mapping by its name; raises InvalidRequestError naming those there are."""
    if name not in shipped_mappings():
        known = ", ".join(shipped_mappings())
        raise _refused([FieldError("mapping", f"{name[:60]!r} is none of {known}")])
    return mapping_from(name, (_SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"))


def mapping_from(name: str, text: str) -> Mapping:
    """The mapping a YAML document describes; raises InvalidRequestError with every error and its line."""
    if len(text.encode()) > DOCUMENT_BYTES_MAX:
        raise _refused([FieldError("mapping", f"is larger than {DOCUMENT_BYTES_MAX} bytes")])
    try:
        document = _load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _refused([FieldError("mapping", f"line {line}: {error.problem or 'is no YAML'}")]) from None
    except (yaml.YAMLError, RecursionError):
        raise _refused([FieldError("mapping", "is no YAML")]) from None
    mapping, faults = read_mapping(name, document.tree)
    if mapping is None:
        raise _refused(
            [
                FieldError(
                    f"mapping.{fault.place}" if fault.place else "mapping",
                    f"line {_line_of(fault.place, document.lines)}: {fault.reason}",
                )
                for fault in faults
            ]
        )
    return mapping


def _refused(errors: list[FieldError]) -> InvalidRequestError:
    return InvalidRequestError("The mapping cannot be used; docs/mappings.md describes the language.", errors=errors)


def _line_of(place: str, lines: dict[str, int]) -> int:
    # A missing key has no line of its own: that of what it should stand in.
    while place and place not in lines:
        place = place.rpartition(".")[0]
    return lines.get(place, 1)


def _load(text: str) -> _Document:
    loader = yaml.BaseLoader(text)
    try:
        node = loader.get_single_node()
    finally:
        loader.dispose()
    lines: dict[str, int] = {}
    return _Document(_plain(node, "", lines, set()), lines)


def _plain(node: yaml.Node | None, place: str, lines: dict[str, int], seen: set[int]) -> Tree:
    if node is None:
        return ""
    if id(node) in seen:
        raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=node.start_mark)
    seen.add(id(node))
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, _under(place, str(index)), lines, seen) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return str(node.value)
    tree: dict[str, Tree] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key_node.start_mark)
        key = str(key_node.value)
        if key in tree:
            raise yaml.MarkedYAMLError(problem=f"{key!r} is there twice", problem_mark=key_node.start_mark)
        tree[key] = _plain(value_node, _under(place, key), lines, seen)
    return tree


def _under(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
