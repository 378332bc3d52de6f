"""Merging two customers and taking them apart again: one transaction each, one customer one owner all the time (53, 116)."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor
from breakwater.chassis.ids import uuid7
from services.leads.idempotence import Answer, Keyed, KeyedStore, answer_once
from services.leads.intake.merges.domain import (
    REASON_CHARS_MAX,
    Merge,
    Moved,
    OwnedLead,
    Present,
    Side,
    against_undoing,
    changes_of,
)
from services.leads.intake.usecases import LeadReader, owners_of, permit
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Decision, Ledger, Priority, candidate
from services.leads.routing.snapshot import Snapshot

MERGE_RULE = "one-customer-one-owner"
"""Rule id of the decision that gives the leads of a merged customer to the owner of the one that is kept (116)."""
UNDO_RULE = "merge-undone"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two customers with all their leads and keys, locked."""

    kept: Side
    merged: Side
    leads: tuple[OwnedLead, ...]
    keys: tuple[str, ...]
    """Of the one that is merged."""


@dataclass(slots=True)
class Effect:
    """What one transaction writes beside the merge itself."""

    snapshot: Snapshot
    ledger: Ledger
    assignments: list[Assignment] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MergeOrder:
    """Which customer becomes part of which."""

    kept_id: str
    merged_id: str
    reason: str
    take: Collection[str] = ()
    """Fields that the merged one knows better."""


class MergeStore(KeyedStore, LeadReader, Protocol):
    """One transaction."""

    async def lock_pair(self, kept_id: str, merged_id: str) -> Pair | None:
        """None when one of them is not there; raises ConflictError when something comes to them at this moment."""
        ...

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]: ...

    async def rows_of(self, customer_id: str) -> dict[str, tuple[str, ...]]:
        """Ids of all that is a customer's, by table."""
        ...

    async def write_merge(self, merge: Merge, effect: Effect) -> None: ...

    async def merge(self, merge_id: str) -> Merge | None: ...

    async def merges_of(self, customer_id: str) -> list[Merge]:
        """All in which it was kept or merged, oldest first."""
        ...

    async def lock_present(self, merge: Merge) -> Present: ...

    async def write_undo(self, merge: Merge, present: Present, effect: Effect) -> None: ...


BeginMerging = Callable[[], AbstractAsyncContextManager[MergeStore]]


async def merge_customers(
    begin: BeginMerging,
    request: Keyed,
    actor: Actor,
    order: MergeOrder,
    *,
    now: datetime,
    encode: Callable[[Merge], bytes],
) -> Answer:
    """Makes two customers one: fields, keys, leads and whatever else is the merged one's.

    Raises NotFoundError for a customer the actor may not see, PermissionDeniedError for a colleague's, ConflictError for
    one that was merged before.
    """
    permit(actor)
    _check(order)
    async with begin() as store:

        async def work() -> bytes:
            for customer_id in (order.kept_id, order.merged_id):
                await _responsible(store, actor, customer_id)
            pair = await store.lock_pair(order.kept_id, order.merged_id)
            if pair is None:
                raise NotFoundError("There is no such customer.")
            for side in (pair.kept, pair.merged):
                if side.merged_into is not None:
                    raise ConflictError(f"{side.id} was merged into {side.merged_into}.", code="already_merged")
            return encode(await _merge(store, pair, actor.sub, order, now))

        return await answer_once(store, request, work)


async def _responsible(store: MergeStore, actor: Actor, customer_id: str) -> None:
    """An old lead of one's own shows a customer; it is no way to take it from whoever has it now (116)."""
    owners = await owners_of(store, actor)
    customer = await store.customer(customer_id, owners)
    if customer is None:
        raise NotFoundError("There is no such customer.")
    if owners is not None and customer.owner_id is not None and customer.owner_id not in owners:
        raise PermissionDeniedError("The customer is a colleague's: whoever sees both merges them.")


async def _merge(store: MergeStore, pair: Pair, by: str, order: MergeOrder, now: datetime) -> Merge:
    snapshot, ledger = await store.lock_ledger()
    effect = Effect(snapshot, ledger)

    def may_own(person_id: str | None) -> bool:
        person = snapshot.directory.people.get(person_id or "")
        return person is not None and person.may_own

    changes = changes_of(pair.kept, pair.merged, order.take, may_own)
    owner_id = changes["owner_id"][1] if "owner_id" in changes else pair.kept.owner_id
    # Whoever left gets nothing: routing gives what they still have to others.
    passed_on = tuple(lead for lead in pair.leads if lead.is_open and may_own(owner_id) and lead.owner_id != owner_id)
    for lead in passed_on:
        effect.assignments.append(_passed_on(lead, owner_id, pair.kept.id, effect, now))
    merge = Merge(
        id=uuid7(),
        kept_id=pair.kept.id,
        merged_id=pair.merged.id,
        by=by,
        reason=order.reason,
        at=now,
        moved=Moved(changes, pair.keys, await store.rows_of(pair.merged.id), passed_on),
    )
    await store.write_merge(merge, effect)
    return merge


def _check(order: MergeOrder) -> None:
    errors = []
    if order.kept_id == order.merged_id:
        errors.append(FieldError("customer_id", "is the same customer"))
    if not 1 <= len(order.reason) <= REASON_CHARS_MAX:
        errors.append(FieldError("reason", f"has 1 to {REASON_CHARS_MAX} characters"))
    if errors:
        raise InvalidRequestError("The merge cannot be done.", errors=errors)


def _passed_on(lead: OwnedLead, owner_id: str | None, customer_id: str, effect: Effect, now: datetime) -> Assignment:
    directory = effect.snapshot.directory
    owner = directory.people.get(owner_id or "")
    decision = Decision(
        owner_id=owner_id,
        rule_id=MERGE_RULE,
        rule_version=effect.snapshot.rules.version,
        priority=Priority(lead.row["priority"] or Priority.P2),
        reason=f"客户合并：已有负责人{owner.name if owner else owner_id}，一客一主",
        candidates=(candidate(owner_id or "", owner.name if owner else "", ""),),
    )
    _change_hands(effect.ledger, lead.owner_id, owner_id)
    source = lead.row["source"]
    due = effect.snapshot.first_touch.start(directory.team_of(owner_id or ""), source, now)
    return Assignment(
        id=uuid7(),
        lead_id=lead.id,
        customer_id=customer_id,
        decision=decision,
        decided_at=now,
        claim_by=due.at,
        remind_at=due.remind_at,
        sequence=lead.sequence + 1,
        lead_name=lead.row["name"],
        company=lead.row["company"],
        source=source,
    )


def _change_hands(ledger: Ledger, from_id: str | None, to_id: str | None) -> None:
    """Whoever is not in the ledger has no load to count."""
    for person_id, leads in ((from_id, -1), (to_id, 1)):
        if person_id is not None and person_id in ledger.open_leads:
            ledger.open_leads[person_id] += leads
            ledger.changed.add(person_id)


async def undo_merge(
    begin: BeginMerging,
    request: Keyed,
    actor: Actor,
    customer_id: str,
    merge_id: str,
    *,
    now: datetime,
    encode: Callable[[Merge], bytes],
) -> Answer:
    """Takes two customers apart again, exactly as they were; raises ConflictError naming what has changed since."""
    permit(actor)
    async with begin() as store:

        async def work() -> bytes:
            await _responsible(store, actor, customer_id)
            merge = await store.merge(merge_id)
            if merge is None or customer_id not in {merge.kept_id, merge.merged_id}:
                raise NotFoundError("There is no such merge of this customer.")
            if merge.undone_at is not None:
                raise ConflictError("The merge was undone before.", code="already_undone")
            present = await store.lock_present(merge)
            against = against_undoing(merge, present)
            if against:
                raise ConflictError(
                    "What has changed since would be lost or torn apart.", code="merge_not_undoable", errors=against
                )
            return encode(await _undo(store, merge, present, actor.sub, now))

        return await answer_once(store, request, work)


async def _undo(store: MergeStore, merge: Merge, present: Present, by: str, now: datetime) -> Merge:
    snapshot, ledger = await store.lock_ledger()
    effect = Effect(snapshot, ledger)
    for before in merge.moved.leads:
        effect.assignments.append(_given_back(before, present.leads[before.id], effect, now))
    undone = Merge(
        *(merge.id, merge.kept_id, merge.merged_id, merge.by, merge.reason, merge.at, merge.moved),
        undone_by=by,
        undone_at=now,
    )
    await store.write_undo(undone, present, effect)
    return undone


def _given_back(before: OwnedLead, now_lead: OwnedLead, effect: Effect, now: datetime) -> Assignment:
    directory = effect.snapshot.directory
    owner = directory.people.get(before.owner_id or "")
    decision = Decision(
        owner_id=before.owner_id,
        rule_id=UNDO_RULE,
        rule_version=effect.snapshot.rules.version,
        priority=Priority(before.row["priority"] or Priority.P2),
        reason=f"客户合并已撤销，线索归还{owner.name if owner else before.owner_id or '待分配'}",
        candidates=(candidate(before.owner_id, owner.name if owner else "", ""),) if before.owner_id else (),
        waiting=before.row["waiting"],
    )
    _change_hands(effect.ledger, now_lead.owner_id, before.owner_id)
    return Assignment(
        id=uuid7(),
        lead_id=before.id,
        customer_id=before.customer_id,
        decision=decision,
        decided_at=now,
        claim_by=None,
        sequence=now_lead.sequence + 1,
        lead_name=before.row["name"],
        company=before.row["company"],
        source=before.row["source"],
    )


async def list_merges(begin: BeginMerging, actor: Actor, customer_id: str) -> Sequence[Merge]:
    """All merges of a customer the actor may see, oldest first, the undone ones too."""
    permit(actor)
    async with begin() as store:
        if await store.customer(customer_id, await owners_of(store, actor)) is None:
            raise NotFoundError("There is no such customer.")
        return await store.merges_of(customer_id)
