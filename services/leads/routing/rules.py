"""The rules document: what a sales director writes, read into rules with the place of each error (40).

Pure. services/leads/README.md describes the format.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.organisation.domain import RANK_MAX, Directory
from services.leads.routing.conditions import (
    CONDITIONS_MAX,
    TEXT_CHARS_MAX,
    is_free,
    number,
    read_condition,
    read_conditions,
)
from services.leads.routing.domain import (
    CUSTOMER_FACTS,
    LEAD_SCORE,
    NOBODY,
    ONE_CUSTOMER_ONE_OWNER,
    Choice,
    Priority,
    Rule,
    Target,
    TargetKind,
    Weighed,
)
from services.leads.routing.index import RuleIndex
from services.leads.routing.scoring import WEIGHTS_MAX, FormulaError, Scoring, read_scoring

RULES_MAX: Final = 10_000
FREE_FIELDS_MAX: Final = 200
"""Names of UTM values and details that the rules ask for together: each costs every decision a little."""
POINTS_MAX: Final = Decimal(1_000_000)
RADIUS_KM_MAX: Final = 5_000
SKIPPED_TURNS_MAX: Final = 10
DEALS_MAX: Final = 1_000_000

MATCHES: Final = frozenset({"region", "city_code", "industry"})
ORDERS: Final = frozenset({"document", "points"})
_RULE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_RESERVED = frozenset({ONE_CUSTOMER_ONE_OWNER, NOBODY})
_DOCUMENT_KEYS = frozenset({"rules", "order", "score"})
_RULE_KEYS = frozenset({"id", "title", "priority", "when", "weigh", "at_least", "target"})
_SCORE_KEYS = frozenset({"formula", "weights"})
_MEMBER_KEYS = frozenset({"match", "rank_min", "deals_min"})
_POOL_KEYS = _MEMBER_KEYS | {"kind", "team_id", "skill", "choose", "skipped_turns_max"}
_TARGET_KEYS: Mapping[TargetKind, frozenset[str]] = {
    TargetKind.PERSON: frozenset({"kind", "person_id"}),
    TargetKind.TEAM: _POOL_KEYS,
    TargetKind.SKILL: _POOL_KEYS,
    TargetKind.KEY_ACCOUNT: _POOL_KEYS,
    TargetKind.NEAREST: _MEMBER_KEYS | {"kind", "team_id", "skill", "radius_km"},
    TargetKind.IMPORTED_OWNER: frozenset({"kind"}),
    TargetKind.DUTY_DESK: frozenset({"kind", "person_id"}),
}
_CHOICES = tuple(choice.value for choice in Choice if choice is not Choice.NEAREST)
_NEEDED: Mapping[TargetKind, str] = {
    TargetKind.PERSON: "person_id",
    TargetKind.DUTY_DESK: "person_id",
    TargetKind.TEAM: "team_id",
    TargetKind.SKILL: "skill",
    TargetKind.KEY_ACCOUNT: "rank_min",
    TargetKind.NEAREST: "radius_km",
}
_WHOLE: Mapping[str, tuple[int, int, int]] = {
    "rank_min": (0, 0, RANK_MAX),
    "deals_min": (0, 0, DEALS_MAX),
    "radius_km": (0, 1, RADIUS_KM_MAX),
    "skipped_turns_max": (1, 0, SKIPPED_TURNS_MAX),
}
"""Whole numbers of a target: the default, the least and the most."""


@dataclass(frozen=True)
class RuleSet:
    """Rules in the order they are asked, and the formula of a lead's score."""

    version: int
    rules: tuple[Rule, ...]
    by_points: bool = False
    """Of the rules a lead meets, the one with the most points is asked first."""
    scoring: Scoring | None = None

    @cached_property
    def index(self) -> RuleIndex:
        return RuleIndex(self.rules)

    @cached_property
    def asks(self) -> frozenset[str]:
        """Every fact these rules look at; a decision depends on no other."""
        asked = {name for rule in self.rules for name in (*rule.asks, *rule.target.match)}
        kinds = {rule.target.kind for rule in self.rules}
        if TargetKind.IMPORTED_OWNER in kinds:
            asked.add("owner_id")
        if TargetKind.NEAREST in kinds:
            asked.add("city_code")
        if self.scoring is not None:
            asked |= self.scoring.asks
        return frozenset(asked - {LEAD_SCORE})

    @cached_property
    def asks_of_customer(self) -> bool:
        """Whether they look at what is known of the lead's customer."""
        return bool(self.asks & CUSTOMER_FACTS)


def read_rules(document: Mapping[str, Any], version: int, directory: Directory | None = None) -> RuleSet:
    """The rules of a document; with a directory, the people, teams and skills it names must exist.

    Raises InvalidRequestError with one error a place, such as `rules[2].when[0].value`. The last rule must take
    whatever is left to the duty desk, so that no lead is left without an owner (125).
    """
    reader = _Reader(directory)
    found = reader.document(document, version)
    if reader.errors:
        raise InvalidRequestError("The rules cannot be taken.", code="invalid_rules", errors=reader.errors)
    return found


class _Reader:
    """Collects every error with its place, so that the author sees all of them at once."""

    def __init__(self, directory: Directory | None) -> None:
        self.errors: list[FieldError] = []
        self._directory = directory

    def document(self, document: Mapping[str, Any], version: int) -> RuleSet:
        self._only(document, _DOCUMENT_KEYS, "")
        order = document.get("order", "document")
        if not isinstance(order, str) or order not in ORDERS:
            self._wrong("order", f"must be one of {', '.join(sorted(ORDERS))}")
        scoring = self._scoring(document.get("score"))
        rules = self._rules(document.get("rules"), has_score=scoring is not None)
        return RuleSet(version, rules, order == "points", scoring)

    def _rules(self, entries: Any, *, has_score: bool) -> tuple[Rule, ...]:
        if not isinstance(entries, list) or not 1 <= len(entries) <= RULES_MAX:
            self._wrong("rules", f"must be a list of 1 to {RULES_MAX} rules")
            return ()
        rules = [self._rule(entry, f"rules[{index}]") for index, entry in enumerate(entries)]
        seen: set[str] = set()
        for index, rule in enumerate(rules):
            if rule is None:
                continue
            if rule.id in seen:
                self._wrong(f"rules[{index}].id", f"{rule.id!r} is there twice")
            seen.add(rule.id)
            if not has_score and LEAD_SCORE in rule.asks:
                self._wrong(f"rules[{index}]", "asks for lead_score, and the document has no score")
        free = {name for rule in rules if rule is not None for name in rule.asks if is_free(name)}
        if len(free) > FREE_FIELDS_MAX:
            self._wrong("rules", f"ask for {len(free)} different utm and details fields; at most {FREE_FIELDS_MAX}")
        last = rules[-1]
        if last is not None and (last.when or last.weigh or last.target.kind is not TargetKind.DUTY_DESK):
            self._wrong(
                f"rules[{len(rules) - 1}]", "the last rule must have no conditions and the target duty_desk (125)"
            )
        return tuple(rule for rule in rules if rule is not None)

    def _scoring(self, entry: Any) -> Scoring | None:
        if entry is None:
            return None
        if not isinstance(entry, dict):
            self._wrong("score", "must be an object")
            return None
        self._only(entry, _SCORE_KEYS, "score")
        given = entry.get("weights", {})
        if not isinstance(given, dict) or len(given) > WEIGHTS_MAX:
            self._wrong("score.weights", f"must be an object of at most {WEIGHTS_MAX} numbers")
            given = {}
        weights = {name: self._points(value, f"score.weights.{name[:60]}") for name, value in given.items()}
        formula = entry.get("formula")
        if not isinstance(formula, str) or not formula.strip():
            self._wrong("score.formula", "is mandatory")
            return None
        try:
            return read_scoring(formula, weights)
        except FormulaError as error:
            self._wrong("score.formula", str(error))
            return None

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
        when = read_conditions(entry.get("when", []), f"{place}.when", self._wrong)
        weigh = self._weighed(entry.get("weigh", []), f"{place}.weigh")
        at_least = Decimal(0)
        if "at_least" in entry:
            at_least = self._points(entry["at_least"], f"{place}.at_least")
            if not weigh:
                self._wrong(f"{place}.at_least", "goes with weigh")
        if target is None:
            return None
        return Rule(rule_id, title, Priority(priority), when, target, weigh, at_least)

    def _weighed(self, entries: Any, place: str) -> tuple[Weighed, ...]:
        if not isinstance(entries, list) or len(entries) > CONDITIONS_MAX:
            self._wrong(place, f"must be a list of at most {CONDITIONS_MAX} conditions")
            return ()
        found = []
        for index, entry in enumerate(entries):
            here = f"{place}[{index}]"
            condition = read_condition(entry, here, self._wrong, more=frozenset({"points"}))
            if condition is not None:
                found.append(Weighed(condition, self._points(entry.get("points"), f"{here}.points")))
        return tuple(found)

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
        needed = _NEEDED.get(kind)
        if needed is not None and not entry.get(needed):
            self._wrong(f"{place}.{needed}", "is mandatory")
            return None
        whole = {key: self._whole(entry, key, place) for key in _WHOLE}
        match = entry.get("match", [])
        if not isinstance(match, list) or not all(isinstance(each, str) and each in MATCHES for each in match):
            self._wrong(f"{place}.match", f"must be a list of {', '.join(sorted(MATCHES))}")
            match = []
        choose = Choice.NEAREST if kind is TargetKind.NEAREST else self._choice(entry, place)
        return Target(
            kind=kind,
            id=self._named(entry, "person_id" if "person_id" in _TARGET_KEYS[kind] else "team_id", place),
            skill=self._named(entry, "skill", place),
            match=tuple(match),
            choose=choose,
            **whole,
        )

    def _choice(self, entry: Mapping[str, Any], place: str) -> Choice:
        given = entry.get("choose", Choice.ROTATION)
        if not isinstance(given, str) or given not in _CHOICES:
            self._wrong(f"{place}.choose", f"must be one of {', '.join(_CHOICES)}")
            return Choice.ROTATION
        return Choice(given)

    def _named(self, entry: Mapping[str, Any], key: str, place: str) -> str:
        """The id of a person or team, or a skill, that must be there; empty where none is given."""
        given = entry.get(key, "")
        if not isinstance(given, str) or len(given) > TEXT_CHARS_MAX:
            self._wrong(f"{place}.{key}", "must be a text")
            return ""
        if given and self._directory is not None:
            known = {
                "person_id": self._directory.people,
                "team_id": self._directory.teams,
                "skill": self._directory.skilled,
            }[key]
            if given not in known:
                self._wrong(f"{place}.{key}", f"nobody has the {'skill' if key == 'skill' else 'id'} {given[:60]!r}")
        return given

    def _whole(self, entry: Mapping[str, Any], key: str, place: str) -> int:
        default, least, most = _WHOLE[key]
        given = entry.get(key, default)
        # Over protobuf every number comes as a float.
        if isinstance(given, bool) or not isinstance(given, int | float) or given != int(given):
            self._wrong(f"{place}.{key}", "must be a whole number")
            return default
        if key in entry and not least <= given <= most:
            self._wrong(f"{place}.{key}", f"must be {least} to {most}")
            return default
        return int(given)

    def _points(self, value: Any, place: str) -> Decimal:
        try:
            points = number(value)
        except ValueError as error:
            self._wrong(place, str(error))
            return Decimal(0)
        if abs(points) > POINTS_MAX:
            self._wrong(place, f"must be between -{POINTS_MAX} and {POINTS_MAX}")
        return points

    def _only(self, entry: Mapping[str, Any], known: frozenset[str], place: str) -> None:
        for key in sorted(entry.keys() - known):
            self._wrong(f"{place}.{key[:60]}".lstrip("."), f"is not known; known are {', '.join(sorted(known))}")

    def _wrong(self, place: str, reason: str) -> None:
        self.errors.append(FieldError(place, reason))
