"""Events of leads as signals of their customers, each in the transaction of its event."""

from datetime import UTC
from decimal import Decimal

from breakwater.chassis.database import Transaction
from breakwater.chassis.inbox import Handler, Received
from breakwater.leads.v1.events_pb2 import (
    ActivityRecorded,
    InvoiceRecorded,
    LeadAssigned,
    LeadCaptured,
    OpportunityChanged,
    PersonChanged,
)
from services.health.signals.domain import Signal
from services.health.signals.store import learn_person, take_in

# An opportunity of an existing customer that was won or lost says whether they stayed (renewal rate, 17).
EXISTING = "Existing Business"
WON, LOST = "Closed Won", "Closed Lost"


class LeadEvents:
    """What the leads service publishes that says something of a customer."""

    def handlers(self) -> dict[str, Handler]:
        return {
            "breakwater.leads.v1.LeadCaptured": self.lead_captured,
            "breakwater.leads.v1.LeadAssigned": self.lead_assigned,
            "breakwater.leads.v1.ActivityRecorded": self.activity_recorded,
            "breakwater.leads.v1.InvoiceRecorded": self.invoice_recorded,
            "breakwater.leads.v1.OpportunityChanged": self.opportunity_changed,
            "breakwater.leads.v1.PersonChanged": self.person_changed,
        }

    async def lead_captured(self, tx: Transaction, event: Received) -> None:
        told = LeadCaptured.FromString(event.data)
        await take_in(tx, customer_id=told.customer_id, owner_id=told.owner_id, at=event.time)

    async def lead_assigned(self, tx: Transaction, event: Received) -> None:
        told = LeadAssigned.FromString(event.data)
        await take_in(tx, customer_id=told.customer_id, owner_id=told.owner_id, at=event.time)

    async def activity_recorded(self, tx: Transaction, event: Received) -> None:
        told = ActivityRecorded.FromString(event.data)
        if not told.customer_id:
            return
        at = told.occurred_at.ToDatetime(UTC)
        signal = Signal(f"activity:{told.activity_id}", told.customer_id, told.kind, Decimal(1), at)
        await take_in(tx, customer_id=told.customer_id, owner_id="", at=event.time, signals=[signal])

    async def invoice_recorded(self, tx: Transaction, event: Received) -> None:
        told = InvoiceRecorded.FromString(event.data)
        if not told.customer_id:
            return
        at = told.occurred_at.ToDatetime(UTC)
        signal = Signal(f"invoice:{told.invoice_id}", told.customer_id, "invoice", Decimal(told.amount), at)
        await take_in(tx, customer_id=told.customer_id, owner_id="", at=event.time, signals=[signal])

    async def opportunity_changed(self, tx: Transaction, event: Received) -> None:
        told = OpportunityChanged.FromString(event.data)
        if not told.customer_id:
            return
        at = told.occurred_at.ToDatetime(UTC)
        # One signal for each state the opportunity was seen in: its id carries the sequence.
        id_ = f"opportunity:{told.opportunity_id}:{event.sequence}"
        signals = []
        if told.stage not in {WON, LOST}:
            signals.append(Signal(id_, told.customer_id, "opportunity", Decimal(told.amount or "0"), at))
        elif told.kind == EXISTING:
            signals.append(Signal(id_, told.customer_id, "renewal", Decimal(told.stage == WON), at))
        await take_in(tx, customer_id=told.customer_id, owner_id="", at=event.time, signals=signals)

    async def person_changed(self, tx: Transaction, event: Received) -> None:
        told = PersonChanged.FromString(event.data)
        await learn_person(tx, person_id=told.person_id, team_id=told.team_id, sequence=event.sequence)
