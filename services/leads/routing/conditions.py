"""Conditions of the rules document, read into tests of a lead's facts. Pure."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from services.leads.routing.domain import ACTIVITIES_90D, LEAD_SCORE, WON_DEALS, Condition, Facts, Value

CONDITIONS_MAX: Final = 20
VALUES_MAX: Final = 500
TEXT_CHARS_MAX: Final = 200
GROUPS_DEEP_MAX: Final = 3

NUMBERS: Final = frozenset({"budget", ACTIVITIES_90D, WON_DEALS, LEAD_SCORE})
FIELDS: Final = NUMBERS | {
    *("name", "company", "phone", "email", "website", "city_code", "region", "industry", "source", "urgency", "need"),
    *("source_status", "owner_id", "anonymous_id", "external_id", "form"),
}
"""What a condition may ask for, beside `utm.KEY` and `details.NAME`."""

GROUPS: Final = frozenset({"any", "all", "none"})
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": lambda actual, limit: actual > limit,
    "gte": lambda actual, limit: actual >= limit,
    "lt": lambda actual, limit: actual < limit,
    "lte": lambda actual, limit: actual <= limit,
}
_PARTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "contains": lambda text, part: part in text,
    "starts_with": lambda text, part: text.startswith(part),
    "ends_with": lambda text, part: text.endswith(part),
}
OPERATORS: Final = frozenset({"eq", "ne", "in", "not_in", "exists", *_COMPARISONS, *_PARTS})
_KEYS: Final = frozenset({"field", "op", "value"})

Wrong = Callable[[str, str], None]
"""Told the place and the reason of each mistake."""


def read_conditions(entries: Any, place: str, wrong: Wrong, *, deep: int = 0) -> tuple[Condition, ...]:
    """The conditions of a list; those with a mistake are left out and told."""
    if not isinstance(entries, list) or len(entries) > CONDITIONS_MAX:
        wrong(place, f"must be a list of at most {CONDITIONS_MAX} conditions")
        return ()
    found = [read_condition(entry, f"{place}[{index}]", wrong, deep=deep) for index, entry in enumerate(entries)]
    return tuple(condition for condition in found if condition is not None)


def read_condition(
    entry: Any, place: str, wrong: Wrong, *, deep: int = 0, more: frozenset[str] = frozenset()
) -> Condition | None:
    """One condition or group; `more` are keys that are somebody else's to read."""
    if not isinstance(entry, dict):
        wrong(place, "must be an object")
        return None
    if groups := entry.keys() & GROUPS:
        return _group(entry, min(groups), place, wrong, deep=deep, more=more)
    for key in sorted(entry.keys() - _KEYS - more):
        wrong(f"{place}.{key[:60]}", f"is not known; known are {', '.join(sorted(_KEYS | more | GROUPS))}")
    name, operator, value = entry.get("field"), entry.get("op"), entry.get("value")
    if not isinstance(name, str) or not (name in FIELDS or is_free(name)):
        wrong(f"{place}.field", f"must be utm.KEY, details.NAME or one of {', '.join(sorted(FIELDS))}")
        return None
    if not isinstance(operator, str) or operator not in OPERATORS:
        wrong(f"{place}.op", f"must be one of {', '.join(sorted(OPERATORS))}")
        return None
    try:
        compared = _value(name, operator, value)
    except ValueError as error:
        wrong(f"{place}.value", str(error))
        return None
    return Condition(name, operator, _test(name, operator, compared), compared, frozenset({name}))


def is_free(name: str) -> bool:
    """Whether a name is that of a text whose names are data: a UTM value, or what a growth stage unlocks."""
    return name.startswith(("utm.", "details.")) and len(name) < TEXT_CHARS_MAX


def _group(
    entry: Mapping[str, Any], kind: str, place: str, wrong: Wrong, *, deep: int, more: frozenset[str]
) -> Condition | None:
    for key in sorted(entry.keys() - {kind} - more):
        wrong(f"{place}.{key[:60]}", f"does not go with {kind}")
    if deep >= GROUPS_DEEP_MAX:
        wrong(place, f"groups go at most {GROUPS_DEEP_MAX} deep")
        return None
    members = read_conditions(entry[kind], f"{place}.{kind}", wrong, deep=deep + 1)
    if not entry[kind]:
        wrong(f"{place}.{kind}", "must have conditions")
    tests = tuple(member.holds for member in members)
    holds: Callable[[Facts], bool]
    if kind == "any":
        holds = lambda facts: any(test(facts) for test in tests)  # noqa: E731 - one of three
    elif kind == "all":
        holds = lambda facts: all(test(facts) for test in tests)  # noqa: E731
    else:
        holds = lambda facts: not any(test(facts) for test in tests)  # noqa: E731
    return Condition("", kind, holds, None, frozenset().union(*(member.asks for member in members)))


def _value(name: str, operator: str, value: Any) -> object:
    """What the field is compared with; raises ValueError saying what it must be."""
    if operator in _COMPARISONS and name not in NUMBERS and not is_free(name):
        raise ValueError(f"{operator} compares numbers; {name} is a text")
    if operator in _PARTS and name in NUMBERS:
        raise ValueError(f"{operator} looks into texts; {name} is a number")
    if operator == "exists":
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if operator in {"in", "not_in"}:
        if not isinstance(value, list) or not 1 <= len(value) <= VALUES_MAX:
            raise ValueError(f"must be a list of 1 to {VALUES_MAX} values")
        return frozenset(_comparable(name, item) for item in value)
    return number(value) if operator in _COMPARISONS else _comparable(name, value)


def _test(name: str, operator: str, compared: Any) -> Callable[[Facts], bool]:
    if compare := _COMPARISONS.get(operator):
        # A lead whose number is unknown is on neither side.
        return lambda facts: (actual := number_in(facts.get(name))) is not None and compare(actual, compared)
    if has_part := _PARTS.get(operator):
        return lambda facts: has_part(str(facts.get(name) or ""), compared)
    match operator:
        case "exists":
            return lambda facts: _is_known(facts.get(name)) is compared
        case "in":
            return lambda facts: facts.get(name) in compared
        case "not_in" | "ne":
            unwanted = compared if operator == "not_in" else frozenset({compared})
            return lambda facts: _is_known(actual := facts.get(name)) and actual not in unwanted
        case _:
            return lambda facts: facts.get(name) == compared


def _is_known(value: Value | None) -> bool:
    return value is not None and value != ""


def _comparable(name: str, value: Any) -> Value:
    return number(value) if name in NUMBERS else _text(value)


def number(value: Any) -> Decimal:
    """A finite number; raises ValueError. Text is exact; a JSON number is read as it was written."""
    # `str(True)` and "[1]" are no numbers.
    try:
        read = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not read.is_finite() or abs(read.adjusted()) > _DIGITS_MAX:
        raise ValueError("must be a number")
    return read


_DIGITS_MAX: Final = 30


def number_in(value: Value | None) -> Decimal | None:
    """A fact as a number; a text such as "60,000,000" holds one too. None where there is none."""
    if value is None or isinstance(value, Decimal):
        return value
    try:
        return number(value.strip().replace(",", ""))
    except ValueError:
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_CHARS_MAX:
        raise ValueError(f"must be a text of 1 to {TEXT_CHARS_MAX} characters")
    return value
