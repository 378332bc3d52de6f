"""Changing the rules, trying them on past leads, and making past decisions again."""

import asyncio
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role
from services.leads.intake.domain import Stage, is_id
from services.leads.intake.usecases import owners_of
from services.leads.organisation.domain import Directory
from services.leads.routing.deciding import NOT_THEIR_TURN, decide
from services.leads.routing.domain import NEW_CUSTOMER, Decision, Facts, Ground, Ledger, StoodOn
from services.leads.routing.replay import decide_again, digest_of, told
from services.leads.routing.rules import RuleSet, read_rules
from services.leads.routing.snapshot import Snapshot

READERS = frozenset({Role.SERVICE, Role.SALES, Role.MANAGER, Role.ADMIN})
AUTHORS = frozenset({Role.MANAGER, Role.ADMIN})
"""Who changes rules, tries them, and rolls them back (40)."""

DRY_RUN_DEFAULT, DRY_RUN_MAX = 1_000, 10_000
DIFFERENCES_MAX = 100
RULES_SHOWN_MAX = 100
_CENTS: Final = Decimal("0.01")
_TENTHS: Final = Decimal("0.1")
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
    stage: Stage
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
    score_today: Decimal | None
    score_then: Decimal | None


@dataclass(frozen=True, slots=True)
class ScoreTrial:
    """How a formula judges past leads whose end is known."""

    leads: int
    mean: Decimal
    converted: int
    lost: int
    pairs_right: Decimal | None
    """Of a converted lead and a lost one, how often it gives the converted one the higher score (equal counts half), in
    percent: 50 is a coin's, 100 a perfect formula's. None while one kind is missing."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What rules would have decided, beside what was decided."""

    leads: int
    same: int
    changed: int
    differences: tuple[Difference, ...]
    by_rule: tuple[tuple[str, int], ...]
    """How many leads each rule decides, the most first."""
    score_today: ScoreTrial | None
    """By the formula in force; None without one."""
    score_then: ScoreTrial | None


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """A decision as it was told, and what it stood on."""

    told: bytes
    digest: str
    rule_version: int
    decided_at: datetime
    ground: Ground | None
    """None where no rule was asked: an overdue lead that went to the supervisor."""
    stood_on: StoodOn | None


@dataclass(frozen=True, slots=True)
class Replay:
    """A past decision beside the same made again."""

    told: bytes
    again: bytes
    is_equal: bool
    """Byte for byte, with what it did to the rotation."""
    rule_version: int
    organisation: str
    """The hash of the people, teams and deals it chose among."""
    stood_on: StoodOn


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

    async def histories(self, customer_ids: Sequence[str], now: datetime) -> Mapping[str, Facts]:
        """What is known of customers beside their leads, by id."""
        ...

    async def ledger(self) -> Ledger: ...

    async def kept_decision(
        self, lead_id: str, assignment_id: str, owners: Sequence[str] | None
    ) -> KeptDecision | None: ...

    async def ready_rules(self, version: int) -> RuleSet: ...


BeginRules = Callable[[], AbstractAsyncContextManager[RulesStore]]


def _permit(actor: Actor, roles: frozenset[Role]) -> None:
    if actor.role not in roles:
        raise PermissionDeniedError(f"The role {actor.role} has no access to the routing rules.")


async def get_rules(begin: BeginRules, actor: Actor, version: int = 0) -> KeptRules:
    """A version of the rules; 0 is the one in force."""
    _permit(actor, READERS)
    async with begin() as store:
        return _found(await store.rules(version or None))


async def _checked(document: Mapping[str, Any], version: int, directory: Directory) -> RuleSet:
    # In a thread: thousands of rules take a second, in which others want their leads.
    return await asyncio.to_thread(read_rules, document, version, directory)


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
        await _checked(document, version + 1, (await store.snapshot()).directory)
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
        await _checked(earlier.document, newest + 1, (await store.snapshot()).directory)
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
    now = clock.now()
    async with begin() as store:
        snapshot = await store.snapshot()
        leads = await store.past_leads(leads_max or DRY_RUN_DEFAULT)
        rules = await _checked(document, snapshot.rules.version + 1, snapshot.directory)
        customers = {lead.customer_id for lead in leads} if rules.asks_of_customer else set()
        histories = await store.histories(sorted(customers), now) if customers else {}
        ledger = await store.ledger()
    differences: list[Difference] = []
    owners: dict[str, str | None] = {}
    by_rule: Counter[str] = Counter()
    today, then = _Scores(), _Scores()
    for turn, lead in enumerate(leads):
        facts = {**lead.facts, **histories.get(lead.customer_id, NEW_CUSTOMER)}
        decision = decide(
            rules,
            facts,
            snapshot.directory,
            ledger,
            now,
            customer_owner_id=owners.get(lead.customer_id),
            deals=snapshot.deals,
        )
        ledger.credit.update(decision.turn)
        ledger.owed.update(decision.owed)
        by_rule[decision.rule_id] += 1
        score_today = snapshot.rules.scoring.score(facts) if snapshot.rules.scoring else None
        today.add(lead.stage, score_today)
        then.add(lead.stage, decision.score)
        same = _same(lead, decision)
        if not same:
            differences.append(
                Difference(lead.id, lead.owner_id, decision.owner_id, decision.rule_id, score_today, decision.score)
            )
        if not decision.waiting:
            owners[lead.customer_id] = lead.owner_id if same else decision.owner_id
        if turn % _TURNS_BETWEEN_PAUSES == 0:
            # Ten thousand decisions take a while: others get their turn in between.
            await clock.sleep(0)
    return DryRun(
        leads=len(leads),
        same=len(leads) - len(differences),
        changed=len(differences),
        differences=tuple(differences[:DIFFERENCES_MAX]),
        by_rule=tuple(by_rule.most_common(RULES_SHOWN_MAX)),
        score_today=today.trial(),
        score_then=then.trial(),
    )


def _same(lead: PastLead, decision: Decision) -> bool:
    """A lead whose turn would merely have fallen to a colleague of the same rotation is the same."""
    if lead.owner_id == decision.owner_id:
        return True
    return any(
        each.person_id == lead.owner_id and each.rejected_because == NOT_THEIR_TURN for each in decision.candidates
    )


class _Scores:
    """Scores of past leads, by how they ended."""

    def __init__(self) -> None:
        self._all: list[Decimal] = []
        self._ended: dict[Stage, list[Decimal]] = {Stage.CONVERTED: [], Stage.LOST: []}

    def add(self, stage: Stage, score: Decimal | None) -> None:
        if score is not None:
            self._all.append(score)
            self._ended.get(stage, []).append(score)

    def trial(self) -> ScoreTrial | None:
        if not self._all:
            return None
        converted, lost = self._ended[Stage.CONVERTED], sorted(self._ended[Stage.LOST])
        right = None
        if converted and lost:
            halves = sum(bisect_left(lost, score) + bisect_right(lost, score) for score in converted)
            right = (Decimal(50 * halves) / (len(converted) * len(lost))).quantize(_TENTHS)
        mean = (sum(self._all, Decimal(0)) / len(self._all)).quantize(_CENTS)
        return ScoreTrial(len(self._all), mean, len(converted), len(lost), right)


async def replay_assignment(begin: BeginRules, actor: Actor, lead_id: str, assignment_id: str) -> Replay:
    """Makes a past decision again from what it stood on, and holds the two side by side (8).

    Raises NotFoundError for a decision the actor may not see, ConflictError for one that no rule made.
    """
    _permit(actor, AUTHORS)
    async with begin() as store:
        owners = await owners_of(store, actor)
        known = is_id(lead_id) and is_id(assignment_id)
        kept = await store.kept_decision(lead_id, assignment_id, owners) if known else None
        if kept is None:
            raise NotFoundError("There is no such decision.")
        if kept.ground is None or kept.stood_on is None:
            raise ConflictError("No rule was asked for this decision: the lead was handed over.")
        rules = await store.ready_rules(kept.rule_version)
    again = decide_again(rules, kept.ground, kept.stood_on, kept.decided_at)
    return Replay(
        told=kept.told,
        again=told(again),
        is_equal=kept.told == told(again) and kept.digest == digest_of(again),
        rule_version=kept.rule_version,
        organisation=kept.ground.hash,
        stood_on=kept.stood_on,
    )


def _found(rules: KeptRules | None) -> KeptRules:
    if rules is None:
        raise NotFoundError("There is no such version of the rules.")
    return rules
