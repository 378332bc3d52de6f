"""Events of leads as signals of their customers, in the transaction of the events."""

from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal

from breakwater.chassis.database import Transaction
from breakwater.chassis.inbox import BatchHandler, Handler, Received
from breakwater.leads.v1.events_pb2 import (
    ActivityRecorded,
    InvoiceRecorded,
    LeadAssigned,
    LeadCaptured,
    OpportunityChanged,
    PersonChanged,
)
from services.health.signals.domain import Signal
from services.health.signals.store import Told, learn_person, take_in

# An opportunity of an existing customer that was won or lost says whether they stayed (renewal rate, 17).
EXISTING = "Existing Business"
WON, LOST = "Closed Won", "Closed Lost"


class LeadEvents:
    """What the leads service publishes that says something of a customer."""

    def batch_handlers(self) -> dict[str, BatchHandler]:
        """All that speaks of customers, together: an import brings thousands."""
        return dict.fromkeys(_READERS, self.take_in)

    def handlers(self) -> dict[str, Handler]:
        return {"breakwater.leads.v1.PersonChanged": self.person_changed}

    async def take_in(self, tx: Transaction, events: Sequence[Received]) -> None:
        """Events that name no customer (a call nobody could link) say nothing here."""
        told = [_READERS[event.type](event) for event in events]
        known = [each for each in told if each.customer_id]
        if known:
            await take_in(tx, known)

    async def person_changed(self, tx: Transaction, event: Received) -> None:
        told = PersonChanged.FromString(event.data)
        await learn_person(tx, person_id=told.person_id, team_id=told.team_id, sequence=event.sequence)


def _lead_captured(event: Received) -> Told:
    told = LeadCaptured.FromString(event.data)
    return Told(told.customer_id, told.owner_id, event.time)


def _lead_assigned(event: Received) -> Told:
    told = LeadAssigned.FromString(event.data)
    return Told(told.customer_id, told.owner_id, event.time)


def _activity_recorded(event: Received) -> Told:
    told = ActivityRecorded.FromString(event.data)
    at = told.occurred_at.ToDatetime(UTC)
    signal = Signal(f"activity:{told.activity_id}", told.customer_id, told.kind, Decimal(1), at)
    return Told(told.customer_id, "", event.time, (signal,))


def _invoice_recorded(event: Received) -> Told:
    told = InvoiceRecorded.FromString(event.data)
    at = told.occurred_at.ToDatetime(UTC)
    if not told.amount:  # an invoice whose source named no amount says nothing of value
        return Told(told.customer_id, "", event.time)
    signal = Signal(f"invoice:{told.invoice_id}", told.customer_id, "invoice", Decimal(told.amount), at)
    return Told(told.customer_id, "", event.time, (signal,))


def _opportunity_changed(event: Received) -> Told:
    told = OpportunityChanged.FromString(event.data)
    at = told.occurred_at.ToDatetime(UTC)
    # One signal for each state the opportunity was seen in: its id carries the sequence.
    id_ = f"opportunity:{told.opportunity_id}:{event.sequence}"
    signals: tuple[Signal, ...] = ()
    if told.stage not in {WON, LOST}:
        signals = (Signal(id_, told.customer_id, "opportunity", Decimal(told.amount or "0"), at),)
    elif told.kind == EXISTING:
        signals = (Signal(id_, told.customer_id, "renewal", Decimal(told.stage == WON), at),)
    return Told(told.customer_id, "", event.time, signals)


_READERS = {
    "breakwater.leads.v1.LeadCaptured": _lead_captured,
    "breakwater.leads.v1.LeadAssigned": _lead_assigned,
    "breakwater.leads.v1.ActivityRecorded": _activity_recorded,
    "breakwater.leads.v1.InvoiceRecorded": _invoice_recorded,
    "breakwater.leads.v1.OpportunityChanged": _opportunity_changed,
}
