"""Changing the rules, trying them on past leads, and routing anew what waits for somebody."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role
from breakwater.chassis.ids import uuid7
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Decision, Facts, Ledger, TargetKind, decide
from services.leads.routing.rules import read_rules
from services.leads.routing.snapshot import Snapshot

READERS = frozenset({Role.SERVICE, Role.SALES, Role.MANAGER, Role.ADMIN})
AUTHORS = frozenset({Role.MANAGER, Role.ADMIN})
"""Who changes rules, tries them, and rolls them back (40)."""

DRY_RUN_DEFAULT, DRY_RUN_MAX = 1_000, 10_000
DIFFERENCES_MAX = 100
_TURNS_BETWEEN_PAUSES = 100


@dataclass(frozen=True, slots=True)
class KeptRules:
    """One version of the rules, as its author wrote it."""

    version: int
    document: Mapping[str, Any]
    author: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PastLead:
    """A lead of the past, as a dry run looks at it."""

    id: str
    customer_id: str
    owner_id: str | None
    """Whom the rules of its time decided on; a later transfer to the supervisor is not theirs."""
    facts: Facts


@dataclass(frozen=True, slots=True)
class Difference:
    """One lead that would have gone elsewhere."""

    lead_id: str
    owner_today: str | None
    owner_then: str | None
    rule_id: str


@dataclass(frozen=True, slots=True)
class DryRun:
    """What rules would have decided, beside what was decided."""

    leads: int
    same: int
    changed: int
    differences: tuple[Difference, ...]


class RulesStore(Protocol):
    """What changing rules needs of one open transaction."""

    async def snapshot(self) -> Snapshot: ...

    async def rules(self, version: int | None) -> KeptRules | None:
        """A version of the rules; the one in force for None."""
        ...

    async def lock_rules(self) -> int:
        """The version in force; whoever changes the rules next waits."""
        ...

    async def add_rules(self, rules: KeptRules) -> None: ...

    async def past_leads(self, limit: int) -> list[PastLead]:
        """The newest leads that were routed, the oldest of them first."""
        ...

    async def ledger(self) -> Ledger: ...


BeginRules = Callable[[], AbstractAsyncContextManager[RulesStore]]


def _permit(actor: Actor, roles: frozenset[Role]) -> None:
    if actor.role not in roles:
        raise PermissionDeniedError(f"The role {actor.role} has no access to the routing rules.")


async def get_rules(begin: BeginRules, actor: Actor) -> KeptRules:
    """The rules in force."""
    _permit(actor, READERS)
    async with begin() as store:
        return _found(await store.rules(None))


async def put_rules(
    begin: BeginRules, actor: Actor, document: Mapping[str, Any], expected_version: int, *, now: datetime
) -> KeptRules:
    """Puts new rules in force, for the next transaction of every replica.

    Raises InvalidRequestError with the place of each error, ConflictError when `expected_version` (0: any) is not in
    force.
    """
    _permit(actor, AUTHORS)
    async with begin() as store:
        version = await store.lock_rules()
        if expected_version not in {0, version}:
            raise ConflictError(f"Version {version} is in force, not {expected_version}: look at it and try again.")
        read_rules(document, version + 1, (await store.snapshot()).directory)
        rules = KeptRules(version + 1, document, actor.sub, now)
        await store.add_rules(rules)
    return rules


async def roll_back_rules(begin: BeginRules, actor: Actor, version: int, *, now: datetime) -> KeptRules:
    """Puts an earlier version in force again, as a new version, when its people and teams still exist."""
    _permit(actor, AUTHORS)
    async with begin() as store:
        newest = await store.lock_rules()
        if version == newest:
            raise ConflictError(f"Version {version} is in force already.")
        earlier = _found(await store.rules(version))
        read_rules(earlier.document, newest + 1, (await store.snapshot()).directory)
        rules = KeptRules(newest + 1, earlier.document, actor.sub, now)
        await store.add_rules(rules)
    return rules


async def dry_run_rules(
    begin: BeginRules, actor: Actor, document: Mapping[str, Any], leads_max: int, *, clock: Clock
) -> DryRun:
    """Tries rules on past leads, with the people and rotation of today; changes nothing.

    A lead whose turn would merely have fallen to a colleague of the same rotation is the same, and so are the later ones
    of its customer.
    """
    _permit(actor, AUTHORS)
    if not 0 <= leads_max <= DRY_RUN_MAX:
        raise InvalidRequestError(
            f"leads_max is 1 to {DRY_RUN_MAX}.", errors=[FieldError("leads_max", f"is 1 to {DRY_RUN_MAX}")]
        )
    async with begin() as store:
        snapshot = await store.snapshot()
        leads = await store.past_leads(leads_max or DRY_RUN_DEFAULT)
        ledger = await store.ledger()
    rules = read_rules(document, snapshot.rules.version + 1, snapshot.directory)
    rotating = {rule.id for rule in rules.rules if rule.target.kind is TargetKind.TEAM}
    differences: list[Difference] = []
    owners: dict[str, str | None] = {}
    now = clock.now()
    for turn, lead in enumerate(leads):
        owner_id = owners.get(lead.customer_id)
        decision = decide(rules, lead.facts, snapshot.directory, ledger, now, customer_owner_id=owner_id)
        ledger.credit.update(decision.turn)
        same = _same(lead, decision, rotating)
        if not same:
            differences.append(Difference(lead.id, lead.owner_id, decision.owner_id, decision.rule_id))
        if not decision.waiting:
            owners[lead.customer_id] = lead.owner_id if same else decision.owner_id
        if turn % _TURNS_BETWEEN_PAUSES == 0:
            # Ten thousand decisions take a while: others get their turn in between.
            await clock.sleep(0)
    return DryRun(len(leads), len(leads) - len(differences), len(differences), tuple(differences[:DIFFERENCES_MAX]))


def _same(lead: PastLead, decision: Decision, rotating: set[str]) -> bool:
    if lead.owner_id == decision.owner_id:
        return True
    return decision.rule_id in rotating and lead.owner_id in decision.turn


def _found(rules: KeptRules | None) -> KeptRules:
    if rules is None:
        raise NotFoundError("There is no such version of the rules.")
    return rules


@dataclass(frozen=True, slots=True)
class WaitingLead:
    """An open lead that has nobody, only the duty desk, or somebody who may no longer own leads.

    Its row and its customer's are locked until the transaction ends.
    """

    id: str
    customer_id: str
    customer_owner_id: str | None
    owner_id: str | None
    sequence: int
    facts: Facts
    lead_name: str
    company: str
    source: str


@dataclass(slots=True)
class Rerouted:
    """Everything one transaction writes."""

    snapshot: Snapshot
    ledger: Ledger
    seen: list[str] = field(default_factory=list)
    """Leads that were looked at: they wait until organisation or rules change again."""
    assignments: list[Assignment] = field(default_factory=list)


class RerouteStore(Protocol):
    """What routing anew needs of one open transaction."""

    async def snapshot(self) -> Snapshot: ...

    async def take_waiting(self, snapshot: Snapshot, limit: int) -> list[WaitingLead]:
        """Leads last routed under an older snapshot, or whose owner may own none; those of other workers are left."""
        ...

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]: ...

    async def write(self, rerouted: Rerouted) -> None: ...


async def reroute_waiting_leads(
    begin: Callable[[], AbstractAsyncContextManager[RerouteStore]], *, now: datetime, limit: int
) -> int:
    """Routes at most `limit` waiting leads anew in one transaction (125); returns how many it looked at."""
    async with begin() as store:
        leads = await store.take_waiting(await store.snapshot(), limit)
        if not leads:
            return 0
        rerouted = Rerouted(*await store.lock_ledger())
        owners: dict[str, str | None] = {}
        for lead in leads:
            rerouted.seen.append(lead.id)
            _route_anew(lead, rerouted, owners, now)
        await store.write(rerouted)
    return len(leads)


def _route_anew(lead: WaitingLead, rerouted: Rerouted, owners: dict[str, str | None], now: datetime) -> None:
    snapshot, ledger = rerouted.snapshot, rerouted.ledger
    decision = decide(
        snapshot.rules,
        lead.facts,
        snapshot.directory,
        ledger,
        now,
        customer_owner_id=owners.get(lead.customer_id, lead.customer_owner_id),
    )
    if decision.owner_id == lead.owner_id:
        return
    if lead.owner_id is not None:
        ledger.release(lead.owner_id)
        decision = replace(decision, reason=f"{decision.reason}（重新分配）")
    ledger.record(decision)
    due = None
    if decision.owner_id is not None:
        team_id = snapshot.directory.team_of(decision.owner_id)
        due = snapshot.first_touch.start(team_id, lead.source, now)
        if not decision.waiting:
            owners[lead.customer_id] = decision.owner_id
    rerouted.assignments.append(
        Assignment(
            id=uuid7(),
            lead_id=lead.id,
            customer_id=lead.customer_id,
            decision=decision,
            decided_at=now,
            claim_by=due.at if due else None,
            remind_at=due.remind_at if due else None,
            sequence=lead.sequence + 1,
            lead_name=lead.lead_name,
            company=lead.company,
            source=lead.source,
        )
    )
