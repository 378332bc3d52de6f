"""The rules document: what a sales director writes, read into rules with the place of each error (40).

Pure. services/leads/README.md describes the format.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.organisation.domain import Directory
from services.leads.routing.domain import (
    NOBODY,
    ONE_CUSTOMER_ONE_OWNER,
    Condition,
    Facts,
    Priority,
    Rule,
    RuleSet,
    Target,
    TargetKind,
)

RULES_MAX = 10_000
CONDITIONS_MAX = 20
VALUES_MAX = 500
TEXT_CHARS_MAX = 200

FIELDS = frozenset(
    {"name", "company", "phone", "email", "city_code", "region", "industry", "source"}
    | {"budget", "urgency", "need", "source_status", "website"}
)
"""Fields of a lead a condition may ask for, beside `utm.KEY`."""

NUMBERS = frozenset({"budget"})
MATCHES = frozenset({"region", "city_code", "industry"})
OPERATORS = frozenset({"eq", "in", "gt", "lt", "contains"})
_RULE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_RESERVED = frozenset({ONE_CUSTOMER_ONE_OWNER, NOBODY})
_RULE_KEYS = frozenset({"id", "title", "priority", "when", "target"})
_CONDITION_KEYS = frozenset({"field", "op", "value"})
_TARGET_KEYS: Mapping[TargetKind, frozenset[str]] = {
    TargetKind.PERSON: frozenset({"kind", "person_id"}),
    TargetKind.TEAM: frozenset({"kind", "team_id", "match"}),
    TargetKind.IMPORTED_OWNER: frozenset({"kind"}),
    TargetKind.DUTY_DESK: frozenset({"kind", "person_id"}),
}


def read_rules(document: Mapping[str, Any], version: int, directory: Directory | None = None) -> RuleSet:
    """The rules of a document; with a directory, the people and teams it names must exist.

    Raises InvalidRequestError with one error a place, such as `rules[2].when[0].value`. The last rule must take
    whatever is left to the duty desk, so that no lead is left without an owner (125).
    """
    reader = _Reader(directory)
    rules = reader.document(document)
    if reader.errors:
        raise InvalidRequestError("The rules cannot be taken.", code="invalid_rules", errors=reader.errors)
    return RuleSet(version, rules)


class _Reader:
    """Collects every error with its place, so that the author sees all of them at once."""

    def __init__(self, directory: Directory | None) -> None:
        self.errors: list[FieldError] = []
        self._directory = directory

    def document(self, document: Mapping[str, Any]) -> tuple[Rule, ...]:
        self._only(document, frozenset({"rules"}), "")
        entries = document.get("rules")
        if not isinstance(entries, list) or not 1 <= len(entries) <= RULES_MAX:
            self._wrong("rules", f"must be a list of 1 to {RULES_MAX} rules")
            return ()
        rules = [self._rule(entry, f"rules[{index}]") for index, entry in enumerate(entries)]
        found = [rule for rule in rules if rule is not None]
        seen: set[str] = set()
        for index, rule in enumerate(rules):
            if rule is None:
                continue
            if rule.id in seen:
                self._wrong(f"rules[{index}].id", f"{rule.id!r} is there twice")
            seen.add(rule.id)
        last = rules[-1]
        if last is not None and (last.when or last.target.kind is not TargetKind.DUTY_DESK):
            self._wrong(
                f"rules[{len(rules) - 1}]", "the last rule must have no conditions and the target duty_desk (125)"
            )
        return tuple(found)

    def _rule(self, entry: Any, place: str) -> Rule | None:
        if not isinstance(entry, dict):
            self._wrong(place, "must be an object")
            return None
        self._only(entry, _RULE_KEYS, place)
        rule_id = entry.get("id")
        if not isinstance(rule_id, str) or not _RULE_ID.fullmatch(rule_id) or rule_id in _RESERVED:
            self._wrong(f"{place}.id", "must be lower-case letters, digits and hyphens, at most 60, and not reserved")
            rule_id = ""
        title = entry.get("title", rule_id)
        if not isinstance(title, str) or len(title) > TEXT_CHARS_MAX:
            self._wrong(f"{place}.title", f"must be a text of at most {TEXT_CHARS_MAX} characters")
            title = ""
        priority = entry.get("priority", "P2")
        if not isinstance(priority, str) or priority not in set(Priority):
            self._wrong(f"{place}.priority", "must be one of P0, P1, P2, P3")
            priority = "P2"
        target = self._target(entry.get("target"), f"{place}.target")
        when = self._conditions(entry.get("when", []), f"{place}.when")
        if target is None:
            return None
        return Rule(rule_id, title, Priority(priority), when, target)

    def _conditions(self, entries: Any, place: str) -> tuple[Condition, ...]:
        if not isinstance(entries, list) or len(entries) > CONDITIONS_MAX:
            self._wrong(place, f"must be a list of at most {CONDITIONS_MAX} conditions")
            return ()
        conditions = [self._condition(entry, f"{place}[{index}]") for index, entry in enumerate(entries)]
        return tuple(condition for condition in conditions if condition is not None)

    def _condition(self, entry: Any, place: str) -> Condition | None:
        if not isinstance(entry, dict):
            self._wrong(place, "must be an object")
            return None
        self._only(entry, _CONDITION_KEYS, place)
        name, operator, value = entry.get("field"), entry.get("op"), entry.get("value")
        if not isinstance(name, str) or not (
            name in FIELDS or (name.startswith("utm.") and len(name) < TEXT_CHARS_MAX)
        ):
            self._wrong(f"{place}.field", f"must be utm.KEY or one of {', '.join(sorted(FIELDS))}")
            return None
        if not isinstance(operator, str) or operator not in OPERATORS:
            self._wrong(f"{place}.op", f"must be one of {', '.join(sorted(OPERATORS))}")
            return None
        try:
            return Condition(name, operator, _test_of(name, operator, value))
        except ValueError as error:
            self._wrong(f"{place}.value", str(error))
            return None

    def _target(self, entry: Any, place: str) -> Target | None:
        if not isinstance(entry, dict):
            self._wrong(place, "must be an object")
            return None
        name = entry.get("kind")
        if not isinstance(name, str) or name not in set(TargetKind):
            self._wrong(f"{place}.kind", f"must be one of {', '.join(TargetKind)}")
            return None
        kind = TargetKind(name)
        self._only(entry, _TARGET_KEYS[kind], place)
        if kind is TargetKind.IMPORTED_OWNER:
            return Target(kind)
        key = "team_id" if kind is TargetKind.TEAM else "person_id"
        target_id = entry.get(key)
        if not isinstance(target_id, str) or not target_id:
            self._wrong(f"{place}.{key}", "is mandatory")
            return None
        if self._directory is not None:
            known = self._directory.teams if kind is TargetKind.TEAM else self._directory.people
            if target_id not in known:
                self._wrong(f"{place}.{key}", f"nobody has the id {target_id[:60]!r}")
        match = entry.get("match", [])
        if not isinstance(match, list) or not all(isinstance(name, str) and name in MATCHES for name in match):
            self._wrong(f"{place}.match", f"must be a list of {', '.join(sorted(MATCHES))}")
            match = []
        return Target(kind, target_id, tuple(match))

    def _only(self, entry: Mapping[str, Any], known: frozenset[str], place: str) -> None:
        for key in sorted(entry.keys() - known):
            self._wrong(f"{place}.{key[:60]}".lstrip("."), f"is not known; known are {', '.join(sorted(known))}")

    def _wrong(self, place: str, reason: str) -> None:
        self.errors.append(FieldError(place, reason))


def _test_of(name: str, operator: str, value: Any) -> Callable[[Facts], bool]:
    """The test of one condition; raises ValueError saying what its value must be."""
    if operator in {"gt", "lt"}:
        if name not in NUMBERS:
            raise ValueError(f"{operator} compares numbers; {name} is a text")
        limit = _number(value)
        return lambda facts: _compare(facts.get(name), limit, greater=operator == "gt")
    if operator == "in":
        if not isinstance(value, list) or not 1 <= len(value) <= VALUES_MAX:
            raise ValueError(f"must be a list of 1 to {VALUES_MAX} values")
        members = frozenset(_comparable(name, item) for item in value)
        return lambda facts: facts.get(name) in members
    if operator == "contains":
        part = _text(value)
        return lambda facts: part in str(facts.get(name) or "")
    wanted = _comparable(name, value)
    return lambda facts: facts.get(name) == wanted


def _compare(actual: str | Decimal | None, limit: Decimal, *, greater: bool) -> bool:
    # A lead whose number is unknown is on neither side.
    if not isinstance(actual, Decimal):
        return False
    return actual > limit if greater else actual < limit


def _comparable(name: str, value: Any) -> str | Decimal:
    return _number(value) if name in NUMBERS else _text(value)


def _number(value: Any) -> Decimal:
    # Text is exact; a JSON number comes as a float and is read as it was written. `str(True)` and "[1]" are no numbers.
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not number.is_finite():
        raise ValueError("must be a number")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_CHARS_MAX:
        raise ValueError(f"must be a text of 1 to {TEXT_CHARS_MAX} characters")
    return value
