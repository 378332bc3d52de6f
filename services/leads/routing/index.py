"""Which of many rules a lead meets, without asking each: 10,000 rules in well under a millisecond.

Pure. A set of rules is a number with one bit a rule. For each field, what a value rules out is worked out once; a lead's
fields are and-ed together, and only what is left is tested condition by condition. Answers exactly as testing every rule.
"""

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Final

from services.leads.routing.conditions import NUMBERS
from services.leads.routing.domain import Condition, Facts, Priority, Rule

_BOUNDS: Final = {"gt": (1, True), "gte": (1, False), "lt": (-1, True), "lte": (-1, False)}
_BLOCK: Final = 64
_MASKS_MAX: Final = 2_000


def _mask(positions: Sequence[int], size: int) -> int:
    bits = bytearray(size // 8 + 1)
    for position in positions:
        bits[position >> 3] |= 1 << (position & 7)
    return int.from_bytes(bits, "little")


def _positions(mask: int) -> Iterator[int]:
    # Word by word: an operation on all bits at once is a copy of them.
    words = mask.to_bytes((mask.bit_length() // 64 + 1) * 8, "little")
    for place, (word,) in enumerate(struct.iter_unpack("<Q", words)):
        left = word
        while left:
            low = left & -left
            yield 64 * place + low.bit_length() - 1
            left ^= low


class _Values:
    """The rules a value of one field leaves: those that ask for it, and those that do not care."""

    def __init__(self, name: str, asking: Sequence[tuple[int, frozenset[object]]], size: int, everything: int) -> None:
        self._name = name
        self._size = size
        self._free = everything & ~_mask([position for position, _ in asking], size)
        self._asking: dict[object, list[int]] = {}
        for position, values in asking:
            for value in values:
                self._asking.setdefault(value, []).append(position)
        self._masks: dict[object, int] = {}

    def left(self, facts: Facts) -> int:
        value = facts.get(self._name)
        positions = self._asking.get(value)
        if positions is None:
            return self._free
        mask = self._masks.get(value)
        if mask is None:
            if len(self._masks) >= _MASKS_MAX:
                self._masks.clear()
            mask = self._masks[value] = self._free | _mask(positions, self._size)
        return mask


class _Bound:
    """The rules a number of one field leaves of those that set a limit on one side of it."""

    def __init__(
        self, name: str, sign: int, limits: Sequence[tuple[int, Decimal, bool]], size: int, everything: int
    ) -> None:
        self._name = name
        self._sign = sign
        self._size = size
        self._free = everything & ~_mask([position for position, _, _ in limits], size)
        # In the order in which a growing number passes them: at its own limit it passes only one that includes it.
        ordered = sorted((sign * limit, strict, position) for position, limit, strict in limits)
        self._passed = [(limit, strict) for limit, strict, _ in ordered]
        self._order = [position for _, _, position in ordered]
        self._blocks = [self._free]
        for start in range(0, len(ordered), _BLOCK):
            self._blocks.append(self._blocks[-1] | _mask(self._order[start : start + _BLOCK], size))

    def left(self, facts: Facts) -> int:
        value = facts.get(self._name)
        if not isinstance(value, Decimal):
            return self._free
        passed = bisect_right(self._passed, (self._sign * value, False))
        whole = passed // _BLOCK
        mask = self._blocks[whole]
        for position in self._order[whole * _BLOCK : passed]:
            mask |= 1 << position
        return mask


@dataclass(slots=True)
class Matching:
    """The rules one lead meets; each is tested when somebody asks for it, and once."""

    facts: Facts
    index: "RuleIndex"
    left: int
    tested: dict[int, bool] = field(default_factory=dict)

    def rules(self) -> Iterator[Rule]:
        """In the order of the document."""
        for position in _positions(self.left):
            if self._holds(position):
                yield self.index.rules[position]

    def by_points(self) -> list[Rule]:
        """Those whose weighed conditions speak loudest first; of equals in the order of the document."""
        return sorted(self.rules(), key=lambda rule: -rule.points(self.facts))

    def priority(self) -> Priority:
        """The highest any of them has; P3 without any."""
        for priority, mask in self.index.of_priority.items():
            found = self.left & mask
            if found & ~self.index.tested_one_by_one or any(self._holds(position) for position in _positions(found)):
                return priority
        return Priority.P3

    def _holds(self, position: int) -> bool:
        if not self.index.tested_one_by_one >> position & 1:
            return True
        known = self.tested.get(position)
        if known is None:
            facts = self.facts
            known = True
            for test in self.index.tests[position]:
                if not test(facts):
                    known = False
                    break
            self.tested[position] = known
        return known


class RuleIndex:
    """Rules, prepared. One condition a field of each kind is indexed; what else a rule asks is tested by itself."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        size = len(rules)
        self._everything = (1 << size) - 1
        values: dict[str, list[tuple[int, frozenset[object]]]] = {}
        bounds: dict[tuple[str, int], list[tuple[int, Decimal, bool]]] = {}
        self.tests: dict[int, tuple[Callable[[Facts], bool], ...]] = {}
        """By position: what the index does not answer."""
        for position, rule in enumerate(rules):
            taken: set[tuple[str, int]] = set()
            tests: list[Callable[[Facts], bool]] = []
            for condition in rule.when:
                slot = _slot(condition)
                if slot is None or slot in taken:
                    tests.append(condition.holds)
                    continue
                taken.add(slot)
                if slot[1]:
                    limit = condition.value
                    if isinstance(limit, Decimal):
                        bounds.setdefault(slot, []).append((position, limit, _BOUNDS[condition.operator][1]))
                else:
                    wanted = condition.value if isinstance(condition.value, frozenset) else {condition.value}
                    values.setdefault(condition.field, []).append((position, frozenset(wanted)))
            if rule.weigh:
                tests.append(rule.is_loud_enough)
            if tests:
                self.tests[position] = tuple(tests)
        self.tested_one_by_one = _mask(list(self.tests), size)
        self._left: tuple[Callable[[Facts], int], ...] = (
            *(_Values(name, asking, size, self._everything).left for name, asking in values.items()),
            *(_Bound(name, sign, limits, size, self._everything).left for (name, sign), limits in bounds.items()),
        )

    @cached_property
    def of_priority(self) -> dict[Priority, int]:
        """The rules of each priority, the highest first."""
        return {
            priority: _mask(
                [place for place, rule in enumerate(self.rules) if rule.priority is priority], len(self.rules)
            )
            for priority in Priority
        }

    def matching(self, facts: Facts) -> Matching:
        """The rules whose conditions hold for the facts."""
        left = self._everything
        for narrow in self._left:
            left &= narrow(facts)
        return Matching(facts, self, left)


def _slot(condition: Condition) -> tuple[str, int] | None:
    """Where the index keeps a condition: by field, and by side for limits (1 lower, -1 upper, 0 values); None nowhere."""
    if condition.operator in {"eq", "in"}:
        return condition.field, 0
    if condition.operator in _BOUNDS and condition.field in NUMBERS:
        return condition.field, _BOUNDS[condition.operator][0]
    return None
