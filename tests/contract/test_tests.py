"""The tests themselves: each says in one sentence what must hold, and none sleeps."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def functions():
    """Every test function with its file."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield path.relative_to(TESTS), node


def test_every_test_says_what_must_hold():
    """A test has a docstring that is a sentence."""
    silent = [f"{path}::{node.name}" for path, node in functions() if not (ast.get_docstring(node) or "").strip()]
    assert silent == []


def test_no_test_sleeps():
    """Tests wait on a condition with a bound, never for a time."""
    sleepers = []
    for path, node in functions():
        for call in ast.walk(node):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.func.attr != "sleep":
                continue
            owner, argument = call.func.value, call.args[0] if call.args else None
            real = isinstance(owner, ast.Name) and owner.id in {"asyncio", "time"}
            if real and not (isinstance(argument, ast.Constant) and argument.value == 0):
                sleepers.append(f"{path}:{call.lineno}")
    assert sleepers == []
