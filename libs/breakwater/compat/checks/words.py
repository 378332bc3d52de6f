"""The words a service branches on: what its code compares a field, or a name that is the field's, with.

The sample of an event has values of its own, which are none of those: a branch for a word is reached only by saying it.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

Word = str | int
Words = Mapping[str, frozenset[Word]]
"""By the name of a field."""


def of(service: str, *trees: Path) -> Words:
    """Those of a service in all of `trees`: `told.stage not in {WON, LOST}`, `if stage == 1`, `match kind: case "call":`."""
    found: defaultdict[str, set[Word]] = defaultdict(set)
    for tree in trees:
        files = sorted((tree / "services" / service).rglob("*.py"))
        parsed = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
        constants = _constants(parsed)
        for name, words in (each for module in parsed for each in _compared(module, constants)):
            found[name] |= words
    return {name: frozenset(words) for name, words in found.items() if words}


def _constants(modules: list[ast.Module]) -> Mapping[str, set[Word]]:
    """What names stand for, of modules and of classes such as an enumeration. One name of two modules stands for both."""
    found: defaultdict[str, set[Word]] = defaultdict(set)
    for scope in (
        node for module in modules for node in ast.walk(module) if isinstance(node, ast.Module | ast.ClassDef)
    ):
        for statement in scope.body:
            match statement:
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                    pairs = list(zip(names, values, strict=False))
                case ast.Assign(targets=[name], value=value) | ast.AnnAssign(target=name, value=ast.expr() as value):
                    pairs = [(name, value)]
                case _:
                    continue
            for name, value in pairs:
                found[_name(name)] |= _words(value, {})
    return found


def _compared(module: ast.Module, constants: Mapping[str, set[Word]]) -> Iterator[tuple[str, set[Word]]]:
    for node in ast.walk(module):
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
                words = set().union(*(_words(side, constants) for side in sides))
                yield from ((_name(side), words) for side in sides if _name(side))
            case ast.Match():
                values = [each.value for each in ast.walk(node) if isinstance(each, ast.MatchValue)]
                yield _name(node.subject), set().union(*(_words(value, constants) for value in values))


def _words(node: ast.expr, constants: Mapping[str, set[Word]]) -> set[Word]:
    match node:
        case ast.Constant(value=str() | int() as word) if not isinstance(word, bool):
            return {word}
        case ast.Set(elts=several) | ast.List(elts=several) | ast.Tuple(elts=several):
            return set().union(*(_words(each, constants) for each in several))
        case ast.Call(args=[inner]) if _name(node.func) == "frozenset":
            return _words(inner, constants)
    return constants.get(_name(node), set())


def _name(node: ast.expr) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
