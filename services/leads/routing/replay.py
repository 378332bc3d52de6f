"""Decisions made again: the same grounds give the same bytes (8).

Pure. What a decision stood on is kept with it: the version of the rules, the organisation by the hash of its content, and
of the lead and the ledger only what was looked at.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
from pydantic import TypeAdapter

from services.leads.organisation.domain import Directory, Person, Taken, Team
from services.leads.organisation.duty import OrdinaryDays
from services.leads.routing.conditions import NUMBERS
from services.leads.routing.deciding import decide
from services.leads.routing.domain import Deals, Decision, Figures, Ground, Ledger, StoodOn
from services.leads.routing.rules import RuleSet


@dataclass(frozen=True, slots=True)
class Organisation:
    """Whom decisions choose among, as of one content."""

    people: tuple[Person, ...]
    teams: tuple[Team, ...]
    channels_required: frozenset[str]
    days: OrdinaryDays
    deals: dict[str, dict[str, int]]


_ORGANISATION = TypeAdapter(Organisation)


def ground_of(directory: Directory, deals: Deals) -> Ground:
    """The content decisions stand on, small enough to be kept each time it changes."""
    content = orjson.dumps(
        Organisation(
            directory.everybody,
            tuple(directory.teams[team_id] for team_id in sorted(directory.teams)),
            directory.channels_required,
            OrdinaryDays(directory.days.holidays, directory.days.workdays),
            {person_id: dict(cities) for person_id, cities in deals.by_city.items()},
        ),
        default=sorted,
        option=orjson.OPT_SORT_KEYS,
    )
    return Ground(hashlib.sha256(content).hexdigest(), zlib.compress(content), is_kept=False)


@lru_cache(maxsize=16)
def organisation_of(ground: Ground) -> tuple[Directory, Deals]:
    """The organisation of a kept content; raises ValueError when it is not what its hash says."""
    content = zlib.decompress(ground.content)
    if hashlib.sha256(content).hexdigest() != ground.hash:
        raise ValueError(f"the organisation {ground.hash} was changed where it is kept")
    found = _ORGANISATION.validate_json(content)
    directory = Directory.of(found.people, found.teams, channels_required=found.channels_required, days=found.days)
    return directory, Deals(found.deals)


def told(decision: Decision) -> bytes:
    """What is told of a decision, in one form: two decisions are the same when these bytes are."""
    return told_of(
        owner_id=decision.owner_id,
        rule_id=decision.rule_id,
        rule_version=decision.rule_version,
        priority=decision.priority,
        reason=decision.reason,
        score=decision.score,
        candidates=[(each.person_id, each.name, each.rejected_because) for each in decision.candidates],
    )


def told_of(**fields: Any) -> bytes:
    """The same of a decision as it is kept."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS, default=str)


def digest_of(decision: Decision) -> str:
    """Of everything a decision says and does, the credits it moved among them."""
    moved = [decision.waiting, dict(decision.turn), dict(decision.owed), decision.taken_on]
    effects = orjson.dumps(moved, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told(decision) + b"\0" + effects).hexdigest()


def stood_on_to(stood_on: StoodOn) -> dict[str, Any]:
    """As it is kept in JSON; numbers as text."""
    return {
        "facts": {name: str(value) for name, value in stood_on.facts.items()},
        "figures": {person_id: each.row for person_id, each in stood_on.figures.items()},
        "customer_owner_id": stood_on.customer_owner_id,
        "again": stood_on.again,
    }


def stood_on_from(kept: Mapping[str, Any]) -> StoodOn:
    """What `stood_on_to` has kept."""
    return StoodOn(
        {name: Decimal(value) if name in NUMBERS else value for name, value in kept["facts"].items()},
        {person_id: _figures_from(*figures) for person_id, figures in kept["figures"].items()},
        kept["customer_owner_id"],
        kept["again"],
    )


def _figures_from(open_leads: int, credit: int, owed: int, day: str, in_day: int, in_week: int) -> Figures:
    return Figures(open_leads, credit, owed, Taken(date.fromisoformat(day), in_day, in_week))


def decide_again(rules: RuleSet, ground: Ground, stood_on: StoodOn, at: datetime) -> Decision:
    """The decision that these grounds give."""
    directory, deals = organisation_of(ground)
    figures = stood_on.figures
    ledger = Ledger(
        open_leads={person_id: each.open_leads for person_id, each in figures.items()},
        credit={person_id: each.credit for person_id, each in figures.items()},
        owed={person_id: each.owed for person_id, each in figures.items()},
        taken={person_id: each.taken for person_id, each in figures.items()},
    )
    return decide(
        rules,
        stood_on.facts,
        directory,
        ledger,
        at,
        customer_owner_id=stood_on.customer_owner_id,
        deals=deals,
        again=stood_on.again,
    )
