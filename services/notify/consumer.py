"""Events of other services, translated to messages and stored in the event's own transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Transaction
from breakwater.chassis.inbox import BatchHandler, Handler, Received
from breakwater.gateway.v1.events_pb2 import ExportDegraded, ExportDelivered
from breakwater.leads.v1.events_pb2 import ImportCompleted, LeadAssigned, LeadOverdue, PersonChanged
from services.notify.delivery import domain
from services.notify.delivery.store import TransactionInboxes
from services.notify.delivery.usecases import Recipient


class LeadEvents:
    """What the leads service publishes and people hear of."""

    def __init__(self, clock: Clock, zone: ZoneInfo) -> None:
        self._clock = clock
        self._zone = zone

    def batch_handlers(self) -> dict[str, BatchHandler]:
        """What comes in crowds: an import assigns thousands."""
        return {"breakwater.leads.v1.LeadAssigned": self.leads_assigned}

    def handlers(self) -> dict[str, Handler]:
        return {
            "breakwater.leads.v1.LeadOverdue": self.lead_overdue,
            "breakwater.leads.v1.ImportCompleted": self.import_completed,
            "breakwater.leads.v1.PersonChanged": self.person_changed,
        }

    async def leads_assigned(self, tx: Transaction, events: Sequence[Received]) -> None:
        """An assignment without an owner tells nobody: the lead waits and is assigned later."""
        await self._store(tx, [self._assigned(LeadAssigned.FromString(event.data)) for event in events])

    def _assigned(self, told: LeadAssigned) -> domain.Message:
        return domain.lead_assigned(
            assignment_id=told.assignment_id,
            lead_id=told.lead_id,
            owner_id=told.owner_id,
            lead_name=told.lead_name,
            company=told.company,
            source=told.source,
            priority=told.priority,
            reason=told.reason,
            claim_by=_moment(told.claim_by) if told.HasField("claim_by") else None,
            zone=self._zone,
        )

    async def lead_overdue(self, tx: Transaction, event: Received) -> None:
        told = LeadOverdue.FromString(event.data)
        messages = domain.lead_overdue(
            lead_id=told.lead_id,
            owner_id=told.owner_id,
            supervisor_id=told.supervisor_id,
            stage=told.stage,
            due_at=_moment(told.due_at),
            zone=self._zone,
        )
        await self._store(tx, messages)

    async def import_completed(self, tx: Transaction, event: Received) -> None:
        told = ImportCompleted.FromString(event.data)
        message = domain.import_completed(
            import_id=told.import_id,
            started_by=told.started_by,
            dataset=told.dataset,
            rows=told.rows,
            created=told.created,
            merged=told.merged,
            rejected=told.rejected,
            failure=told.failure,
        )
        await self._store(tx, [message])

    async def person_changed(self, tx: Transaction, event: Received) -> None:
        told = PersonChanged.FromString(event.data)
        person = Recipient(told.person_id, told.name, told.team_id, told.supervisor_id, told.active)
        await TransactionInboxes(tx).learn(person, event.sequence)

    async def _store(self, tx: Transaction, messages: Sequence[domain.Message]) -> None:
        addressed = [message for message in messages if message.recipient_id]
        if addressed:
            await TransactionInboxes(tx).add(addressed, self._clock.now())


class ExportEvents:
    """What the gateway publishes of exports: a first receipt for a degraded file, a second for the full one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        return {
            "breakwater.gateway.v1.ExportDelivered": self.export_delivered,
            "breakwater.gateway.v1.ExportDegraded": self.export_degraded,
        }

    async def export_delivered(self, tx: Transaction, event: Received) -> None:
        told = ExportDelivered.FromString(event.data)
        message = domain.export_delivered(
            export_id=told.export_id,
            requester_id=told.requester_id,
            supersedes=told.supersedes,
            rows=told.rows,
            fmt=told.format,
        )
        await TransactionInboxes(tx).add([message], self._clock.now())

    async def export_degraded(self, tx: Transaction, event: Received) -> None:
        told = ExportDegraded.FromString(event.data)
        message = domain.export_degraded(
            export_id=told.export_id,
            requester_id=told.requester_id,
            dependency=told.dependency,
            missing=tuple(told.missing),
        )
        await TransactionInboxes(tx).add([message], self._clock.now())


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)
