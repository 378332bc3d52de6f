"""A lead's score by a formula that a director writes: arithmetic over facts and weights, nothing else (40, 57).

Pure. The formula is an expression such as

    weights.budget * min(budget / 1000000, 1) + weights.hot * (urgency == "高" or customer.activities_90d >= 3)

of numbers, texts, facts, `weights.NAME`, `+ - * /`, comparisons, `in`, `and or not`, `A if TEST else B`, `min max abs
number`. It is read by Python's parser and translated node by node: what is not in this list is refused with its column,
and nothing is ever evaluated as Python. A number that is unknown counts as 0, and so does what is divided by 0.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, Final

from services.leads.routing.conditions import FIELDS, NUMBERS, is_free, number, number_in
from services.leads.routing.domain import LEAD_SCORE, Facts

FORMULA_CHARS_MAX: Final = 2_000
WEIGHTS_MAX: Final = 100
DEEP_MAX: Final = 100
SCORE_MAX: Final = Decimal(1_000_000)
_CENTS: Final = Decimal("0.01")
_DIGITS: Final = 28
_ZERO, _ONE = Decimal(0), Decimal(1)

Number = Callable[[Facts], Decimal]
Text = Callable[[Facts], str]


class FormulaError(ValueError):
    """Says what is wrong, and in which column of the formula."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """A formula, ready to be worked out."""

    work_out: Number
    asks: frozenset[str]
    """Every fact it looks at."""

    def score(self, facts: Facts) -> Decimal:
        """Between minus and plus a million, in hundredths."""
        with localcontext(prec=_DIGITS):
            found = self.work_out(facts)
            return max(-SCORE_MAX, min(SCORE_MAX, found)).quantize(_CENTS)


def read_scoring(formula: str, weights: Mapping[str, Decimal]) -> Scoring:
    """The formula over its weights; raises FormulaError."""
    if len(formula) > FORMULA_CHARS_MAX:
        raise FormulaError(f"is longer than {FORMULA_CHARS_MAX} characters")
    try:
        tree = ast.parse(formula.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        column = getattr(error, "offset", None)
        raise FormulaError(f"column {column}: is not a formula" if column else "is not a formula") from None
    translator = _Translator(weights)
    return Scoring(translator.number(tree.body, 0), frozenset(translator.asks))


_ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Decimal, Decimal], Decimal]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right if right else _ZERO,
}
_OF_MANY: Final[Mapping[str, Callable[[Iterable[Decimal]], Decimal]]] = {"min": min, "max": max}
_COMPARED: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class _Translator:
    def __init__(self, weights: Mapping[str, Decimal]) -> None:
        self.asks: set[str] = set()
        self._weights = weights

    def number(self, node: ast.expr, deep: int) -> Number:
        self._not_too_deep(node, deep)
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                try:
                    constant = number(value)
                except ValueError as error:
                    raise _wrong(node, str(error)) from None
                return lambda _: constant
            case ast.Name() | ast.Attribute():
                return self._named(node)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if args:
                return self._call(node, name, args, deep)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                truth = self.truth(node, deep)
                return lambda facts: _ONE if truth(facts) else _ZERO
        return self._arithmetic(node, deep)

    def _arithmetic(self, node: ast.expr, deep: int) -> Number:
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                negated = self.number(operand, deep + 1)
                return lambda facts: -negated(facts)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _ARITHMETIC:
                work, one, other = _ARITHMETIC[type(sign)], self.number(left, deep + 1), self.number(right, deep + 1)
                return lambda facts: work(one(facts), other(facts))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                holds = self.truth(test, deep + 1)
                then, otherwise = self.number(body, deep + 1), self.number(orelse, deep + 1)
                return lambda facts: then(facts) if holds(facts) else otherwise(facts)
        raise _wrong(node, "is not a number this formula can work out")

    def _call(self, node: ast.expr, name: str, args: Sequence[ast.expr], deep: int) -> Number:
        if name in _OF_MANY:
            choose, numbers = _OF_MANY[name], [self.number(each, deep + 1) for each in args]
            return lambda facts: choose(each(facts) for each in numbers)
        if name == "abs" and len(args) == 1:
            size = self.number(args[0], deep + 1)
            return lambda facts: abs(size(facts))
        if name == "number" and len(args) == 1:
            text = self.text(args[0], deep + 1)
            return lambda facts: number_in(text(facts)) or _ZERO
        raise _wrong(node, f"{name[:60]} is not known here; known are min, max, abs and number")

    def truth(self, node: ast.expr, deep: int) -> Callable[[Facts], bool]:
        self._not_too_deep(node, deep)
        match node:
            case ast.BoolOp(op=sign, values=values):
                tests = [self.truth(each, deep + 1) for each in values]
                if isinstance(sign, ast.And):
                    return lambda facts: all(test(facts) for test in tests)
                return lambda facts: any(test(facts) for test in tests)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                test = self.truth(operand, deep + 1)
                return lambda facts: not test(facts)
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as sign], comparators=[within]):
                return self._within(left, within, deep, wanted=isinstance(sign, ast.In))
            case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _COMPARED:
                compare = _COMPARED[type(sign)]
                read: Callable[[ast.expr, int], Callable[[Facts], Any]] = self.number
                if self._is_text(left) or self._is_text(right):
                    if not isinstance(sign, ast.Eq | ast.NotEq):
                        raise _wrong(node, "compares texts, which are only equal or not")
                    read = self.text
                one, other = read(left, deep + 1), read(right, deep + 1)
                return lambda facts: compare(one(facts), other(facts))
            case ast.Compare():
                raise _wrong(node, "compares more than two things at once")
        counted = self.number(node, deep)
        return lambda facts: bool(counted(facts))

    def text(self, node: ast.expr, deep: int) -> Text:
        self._not_too_deep(node, deep)
        match node:
            case ast.Constant(value=str() as value):
                return lambda _: value
            case ast.Name() | ast.Attribute():
                name = self._fact(node)
                if name not in NUMBERS:
                    self.asks.add(name)
                    return lambda facts: str(facts.get(name) or "")
        raise _wrong(node, "is not a text")

    def _within(self, left: ast.expr, within: ast.expr, deep: int, *, wanted: bool) -> Callable[[Facts], bool]:
        text = self.text(left, deep + 1)
        if isinstance(within, ast.Tuple | ast.List):
            members = [self.text(each, deep + 1) for each in within.elts]
            return lambda facts: (text(facts) in {each(facts) for each in members}) is wanted
        whole = self.text(within, deep + 1)
        return lambda facts: (text(facts) in whole(facts)) is wanted

    def _named(self, node: ast.expr) -> Number:
        name = _dotted(node)
        if name.startswith("weights."):
            weight = self._weights.get(name.removeprefix("weights."))
            if weight is None:
                raise _wrong(node, f"{name[:60]} is not among the weights")
            return lambda _: weight
        fact = self._fact(node)
        if fact not in NUMBERS:
            raise _wrong(node, f"{fact[:60]} is a text: compare it, or write number({fact[:60]})")
        self.asks.add(fact)
        return lambda facts: actual if isinstance(actual := facts.get(fact), Decimal) else _ZERO

    def _is_text(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str)
        if not isinstance(node, ast.Name | ast.Attribute):
            return False
        name = _dotted(node)
        return not name.startswith("weights.") and name not in NUMBERS

    def _fact(self, node: ast.expr) -> str:
        name = _dotted(node)
        if name == LEAD_SCORE or not (name in FIELDS or is_free(name)):
            raise _wrong(
                node,
                f"{name[:60]} is not known; known are weights.NAME, utm.KEY, details.NAME, {', '.join(sorted(FIELDS))}",
            )
        return name

    @staticmethod
    def _not_too_deep(node: ast.expr, deep: int) -> None:
        if deep > DEEP_MAX:
            raise _wrong(node, f"is more than {DEEP_MAX} levels deep")


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise _wrong(node, "is not a name")
    return ".".join([node.id, *reversed(parts)])


def _wrong(node: ast.expr, reason: str) -> FormulaError:
    return FormulaError(f"column {node.col_offset + 1}: {reason}")
