"""Capturing leads: the one way in, for a single form and for a chunk of an import alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from breakwater.chassis.ids import uuid7
from services.leads.intake.customers import Customer, CustomerStore, Identity, recognise
from services.leads.intake.domain import OPEN_STAGES, LeadDraft, Stage, facts_of, merge
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import NEW_CUSTOMER, Decision, Facts, Ledger
from services.leads.routing.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Captured:
    """What became of one draft, in the order of the drafts."""

    lead_id: str
    customer_id: str
    stage: Stage
    merged: bool
    """The lead was there already by its external id; nothing was doubled."""
    duplicate_of: str | None
    """The customer's earliest open lead before this one (53)."""
    owner_id: str | None
    assignment: Assignment | None
    """None where nothing was decided: leads that are not open, and merged ones."""


@dataclass(slots=True)
class NewLead:
    """A lead to be inserted."""

    id: str
    customer_id: str
    draft: LeadDraft
    owner_id: str | None = None
    duplicate_of: str | None = None
    assignment: Assignment | None = None


@dataclass(frozen=True, slots=True)
class KnownLead:
    """A lead that is there already by its external id; its row is locked until the transaction ends."""

    id: str
    customer_id: str
    stage: Stage
    owner_id: str | None
    sequence: int
    """Of its last event."""


@dataclass(slots=True)
class MergedLead:
    """What a draft changes of a lead that is there: fields it knows better, an end the source has seen, a new owner."""

    known: KnownLead
    draft: LeadDraft
    ends: bool
    """The lead was open here and is not in the source: its timer is stopped and its owner is free of it."""
    assignment: Assignment | None = None


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead as it stands."""

    id: str
    customer_id: str
    draft: LeadDraft
    """Its fields; `stage` is the present one."""
    owner_id: str | None
    created_at: datetime
    claim_by: datetime | None
    claimed_at: datetime | None


@dataclass(slots=True)
class CaptureBatch:
    """Everything one call writes."""

    now: datetime
    import_id: str
    snapshot: Snapshot
    customers: list[Customer] = field(default_factory=list)
    new: list[NewLead] = field(default_factory=list)
    merged: list[MergedLead] = field(default_factory=list)
    ledger: Ledger | None = None
    """As it is to be kept; None when no decision was made."""


class CaptureStore(CustomerStore, Protocol):
    """What capturing needs of one open transaction; `intake.store.PostgresCaptureStore` is it."""

    async def snapshot(self) -> Snapshot:
        """The newest organisation, rules and limits."""
        ...

    async def lock_leads(self, external_ids: Sequence[str]) -> dict[str, KnownLead]:
        """The leads with these external ids, locked."""
        ...

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]:
        """Open leads and rotation credits of everybody: decisions are made one transaction after the other.

        The newest snapshot comes along, so that nobody asks for it on the way.
        """
        ...

    async def histories(self, customer_ids: Sequence[str], now: datetime) -> Mapping[str, Facts]:
        """What is known of customers beside their leads, by id."""
        ...

    async def write(self, batch: CaptureBatch) -> None:
        """Customers, leads, assignments, timers, ledger and events."""
        ...


async def capture_leads(
    store: CaptureStore,
    drafts: Sequence[LeadDraft],
    *,
    now: datetime,
    import_id: str = "",
    reassign: bool = False,
) -> list[Captured]:
    """Captures normalised drafts in the transaction `store` stands on; a constant number of statements a call.

    Finds or makes each draft's customer, inserts the lead (or merges it into the one with its external id), routes the
    open ones, writes assignments with their explanation, first-touch timers and outbox events. The caller commits.
    `reassign` routes open leads that come with an owner, or are there already, anew.
    """
    if not drafts:
        return []
    customers = await recognise(store, [_identity_of(draft, import_id) for draft in drafts])
    known = await _known_leads(store, drafts, customers)
    # Only where somebody's load may change, everybody's has to be locked.
    routes = any(draft.stage in OPEN_STAGES or draft.external_id in known for draft in drafts)
    snapshot, ledger = await store.lock_ledger() if routes else (await store.snapshot(), None)
    batch = CaptureBatch(
        now, import_id, snapshot, list({customer.id: customer for customer in customers}.values()), ledger=ledger
    )
    returning = [customer.id for customer in batch.customers if not customer.is_new]
    asked = returning if routes and snapshot.rules.asks_of_customer else []
    histories = await store.histories(asked, now) if asked else {}
    capture = _Capture(batch, known, histories, reassign=reassign)
    captured = [capture.take(draft, customer) for draft, customer in zip(drafts, customers, strict=True)]
    await store.write(batch)
    return [each.result() for each in captured]


async def _known_leads(
    store: CaptureStore, drafts: Sequence[LeadDraft], customers: Sequence[Customer]
) -> dict[str, KnownLead]:
    # A lead that is there has a customer that is there: a batch of nothing but new ones asks nothing.
    wanted = {
        draft.external_id
        for draft, customer in zip(drafts, customers, strict=True)
        if draft.external_id and not customer.is_new
    }
    return await store.lock_leads(sorted(wanted)) if wanted else {}


def _identity_of(draft: LeadDraft, import_id: str) -> Identity:
    external_ids = (draft.external_id,) if draft.external_id else ()
    return Identity(
        draft.name,
        draft.company,
        draft.phone,
        draft.email,
        external_ids,
        f"import:{import_id}" if import_id else draft.by,
    )


@dataclass(slots=True)
class _Taken:
    """A draft's place in the batch; its result is read when the batch is complete."""

    lead: NewLead | MergedLead
    merged: bool

    def result(self) -> Captured:
        lead = self.lead
        assignment = lead.assignment
        if isinstance(lead, NewLead):
            return Captured(
                lead_id=lead.id,
                customer_id=lead.customer_id,
                stage=lead.draft.stage,
                merged=self.merged,
                duplicate_of=lead.duplicate_of,
                owner_id=lead.owner_id,
                assignment=None if self.merged else assignment,
            )
        return Captured(
            lead_id=lead.known.id,
            customer_id=lead.known.customer_id,
            stage=lead.draft.stage if lead.ends else lead.known.stage,
            merged=True,
            duplicate_of=None,
            owner_id=assignment.decision.owner_id if assignment else lead.known.owner_id,
            assignment=assignment,
        )


class _Capture:
    """Takes the drafts of one batch in order, each seeing what those before it did."""

    def __init__(
        self, batch: CaptureBatch, known: dict[str, KnownLead], histories: Mapping[str, Facts], *, reassign: bool
    ) -> None:
        self._batch = batch
        self._known = known
        self._histories = histories
        self._reassign = reassign
        self._by_external_id: dict[str, NewLead] = {}
        self._merged: dict[str, MergedLead] = {}

    def take(self, draft: LeadDraft, customer: Customer) -> _Taken:
        if draft.external_id in self._by_external_id:
            # Twice in one batch: the later row knows better. What was decided stands.
            lead = self._by_external_id[draft.external_id]
            lead.draft = replace(merge(lead.draft, draft), stage=lead.draft.stage)
            return _Taken(lead, merged=True)
        if draft.external_id in self._merged:
            known = self._merged[draft.external_id]
            known.draft = replace(merge(known.draft, draft), stage=known.draft.stage)
            return _Taken(known, merged=True)
        if draft.external_id in self._known:
            return _Taken(self._merge(self._known[draft.external_id], draft, customer), merged=True)
        lead = NewLead(id=uuid7(), customer_id=customer.id, draft=draft, duplicate_of=customer.open_lead_id)
        self._batch.new.append(lead)
        if draft.external_id:
            self._by_external_id[draft.external_id] = lead
        if draft.stage in OPEN_STAGES:
            lead.assignment = self._assign(lead.id, draft, customer, sequence=2, others=customer.open_leads)
            lead.owner_id = lead.assignment.decision.owner_id
            customer.open_lead_id = customer.open_lead_id or lead.id
            customer.open_leads += 1
        elif draft.owner_id in self._batch.snapshot.directory.people:
            lead.owner_id = draft.owner_id
            if customer.owner_id is None:
                self._give(customer, draft.owner_id)
        return _Taken(lead, merged=False)

    def _merge(self, known: KnownLead, draft: LeadDraft, customer: Customer) -> MergedLead:
        was_open = known.stage in OPEN_STAGES
        ends = was_open and draft.stage not in OPEN_STAGES
        assignment = None
        if was_open and (ends or self._reassign) and known.owner_id is not None and self._batch.ledger is not None:
            self._batch.ledger.release(known.owner_id)
        if was_open and not ends and self._reassign:
            sequence, others = known.sequence + 1, customer.open_leads - 1
            assignment = self._assign(known.id, draft, customer, sequence=sequence, others=others)
        if ends:
            customer.open_leads -= 1
        merged = MergedLead(known, draft, ends, assignment)
        self._batch.merged.append(merged)
        self._merged[draft.external_id] = merged
        return merged

    def _assign(self, lead_id: str, draft: LeadDraft, customer: Customer, *, sequence: int, others: int) -> Assignment:
        decision = self._decide(draft, customer, others)
        due = None
        if decision.owner_id is not None:
            team_id = self._batch.snapshot.directory.team_of(decision.owner_id)
            due = self._batch.snapshot.first_touch.start(team_id, draft.source, self._batch.now)
            if not decision.waiting:
                self._give(customer, decision.owner_id)
        return Assignment(
            id=uuid7(),
            lead_id=lead_id,
            customer_id=customer.id,
            decision=decision,
            decided_at=self._batch.now,
            claim_by=due.at if due else None,
            remind_at=due.remind_at if due else None,
            sequence=sequence,
            lead_name=draft.name,
            company=draft.company,
            source=draft.source,
            import_id=self._batch.import_id,
            traceparent=draft.traceparent,
        )

    def _decide(self, draft: LeadDraft, customer: Customer, others: int) -> Decision:
        """`others`: how many further open leads the customer has."""
        ledger = self._batch.ledger
        if ledger is None:
            raise RuntimeError("the ledger is locked before anything is decided")
        customer_owner_id = customer.owner_id
        if self._reassign:
            # Routed anew; but not away from the owner of the customer's other open leads (116).
            draft = replace(draft, owner_id="")
            if not others:
                customer_owner_id = None
        facts = {**facts_of(draft), **self._histories.get(customer.id, NEW_CUSTOMER)}
        decision = self._batch.snapshot.decide(facts, ledger, self._batch.now, customer_owner_id=customer_owner_id)
        ledger.record(decision)
        return decision

    @staticmethod
    def _give(customer: Customer, owner_id: str) -> None:
        if customer.owner_id != owner_id:
            customer.owner_id = owner_id
            customer.changed = customer.given = not customer.is_new
