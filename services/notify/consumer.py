"""Events of other services, translated to notices and stored in the event's own transaction."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Transaction
from breakwater.chassis.inbox import BatchHandler, Handler, Received
from breakwater.gateway.v1.events_pb2 import ExportDegraded, ExportDelivered
from breakwater.leads.v1.events_pb2 import (
    BoardReady,
    FormAlerted,
    ImportCompleted,
    LeadAssigned,
    LeadDueSoon,
    LeadOverdue,
    LeadSilent,
    PersonChanged,
)
from services.notify.delivery import notices
from services.notify.delivery.notices import Lead, Notice
from services.notify.delivery.store import Posting, TransactionInboxes
from services.notify.delivery.usecases import Recipient
from services.notify.timestamps import moment
from services.notify.workorders.store import open_work_order

_STAGE_LAST = 2


class LeadEvents:
    """What the leads service publishes and people hear of."""

    def __init__(self, clock: Clock, zone: ZoneInfo, posting: Posting) -> None:
        self._clock = clock
        self._zone = zone
        self._posting = posting

    def batch_handlers(self) -> dict[str, BatchHandler]:
        """What comes in crowds: an import assigns thousands."""
        return {"breakwater.leads.v1.LeadAssigned": self.leads_assigned}

    def handlers(self) -> dict[str, Handler]:
        return {
            "breakwater.leads.v1.LeadDueSoon": self.lead_due_soon,
            "breakwater.leads.v1.LeadOverdue": self.lead_overdue,
            "breakwater.leads.v1.LeadSilent": self.lead_silent,
            "breakwater.leads.v1.ImportCompleted": self.import_completed,
            "breakwater.leads.v1.PersonChanged": self.person_changed,
            "breakwater.leads.v1.BoardReady": self.board_ready,
            "breakwater.leads.v1.FormAlerted": self.form_alerted,
        }

    async def leads_assigned(self, tx: Transaction, events: Sequence[Received]) -> None:
        """An assignment without an owner tells nobody: the lead waits and is assigned later."""
        await self._tell(tx, [self._assigned(LeadAssigned.FromString(event.data)) for event in events])

    def _assigned(self, told: LeadAssigned) -> Notice:
        return notices.lead_assigned(
            Lead(told.lead_id, told.lead_name, told.company),
            assignment_id=told.assignment_id,
            owner_id=told.owner_id,
            source=told.source,
            priority=told.priority,
            reason=told.reason,
            claim_by=moment(told.claim_by) if told.HasField("claim_by") else None,
            import_id=told.import_id,
            zone=self._zone,
        )

    async def lead_due_soon(self, tx: Transaction, event: Received) -> None:
        told = LeadDueSoon.FromString(event.data)
        lead = Lead(told.lead_id, told.lead_name, told.company)
        notice = notices.lead_due_soon(
            lead, owner_id=told.owner_id, stage=told.stage, due_at=moment(told.due_at), zone=self._zone
        )
        await self._tell(tx, [notice])

    async def lead_overdue(self, tx: Transaction, event: Received) -> None:
        """The last stage opens a work order for the supervisor, or for the owner where there is none."""
        told = LeadOverdue.FromString(event.data)
        lead, due_at = Lead(told.lead_id, told.lead_name, told.company), moment(told.due_at)
        told_to = notices.lead_overdue(
            lead,
            owner_id=told.owner_id,
            supervisor_id=told.supervisor_id,
            stage=told.stage,
            due_at=due_at,
            zone=self._zone,
        )
        await self._tell(tx, told_to)
        assignee_id = told.supervisor_id or told.owner_id
        if told.stage == _STAGE_LAST and assignee_id:
            await open_work_order(
                tx,
                kind="lead_overdue",
                subject=lead.subject,
                title=f"线索超时未跟进：{lead.who}",
                assignee_id=assignee_id,
                cause=f"lead_overdue:{lead.id}:{due_at.isoformat()}",
                now=self._clock.now(),
            )

    async def lead_silent(self, tx: Transaction, event: Received) -> None:
        """Where it concerns nobody a work order without a name keeps it from being dropped: who sees everybody finds it (117)."""
        told = LeadSilent.FromString(event.data)
        lead = Lead(told.lead_id, told.lead_name, told.company)
        if not told.owner_id and not told.supervisor_id:
            await open_work_order(
                tx,
                kind="lead_silent",
                subject=lead.subject,
                title=f"【24小时未跟进】{lead.who}",
                assignee_id="",
                cause=f"lead_silent:{lead.id}:{moment(told.assigned_at).isoformat()}",
                now=self._clock.now(),
            )
        silent = notices.lead_silent(
            lead,
            owner_id=told.owner_id,
            owner_name=await TransactionInboxes(tx, self._posting).name(told.owner_id),
            supervisor_id=told.supervisor_id,
            assigned_at=moment(told.assigned_at),
            times=told.times,
            zone=self._zone,
        )
        await self._tell(tx, silent)

    async def import_completed(self, tx: Transaction, event: Received) -> None:
        """Its assignments leave now, one message for each owner (1)."""
        told = ImportCompleted.FromString(event.data)
        await TransactionInboxes(tx, self._posting).end_batch(
            notices.batch_of_import(told.import_id), self._clock.now()
        )
        notice = notices.import_completed(
            import_id=told.import_id,
            started_by=told.started_by,
            dataset=told.dataset,
            rows=told.rows,
            created=told.created,
            merged=told.merged,
            rejected=told.rejected,
            failure=told.failure,
        )
        await self._tell(tx, [notice])

    async def person_changed(self, tx: Transaction, event: Received) -> None:
        told = PersonChanged.FromString(event.data)
        person = Recipient(told.person_id, told.name, told.team_id, told.supervisor_id, told.active, told.email)
        await TransactionInboxes(tx, self._posting).learn(person, event.sequence)

    async def board_ready(self, tx: Transaction, event: Received) -> None:
        told = BoardReady.FromString(event.data)
        notice = notices.board_ready(
            board=told.board, day=told.day, recipient_id=told.recipient_id, title=told.title, body=told.body
        )
        await self._tell(tx, [notice])

    async def form_alerted(self, tx: Transaction, event: Received) -> None:
        told = FormAlerted.FromString(event.data)
        notice = notices.form_alerted(
            form=told.form, lead_id=told.lead_id, recipient_id=told.recipient_id, title=told.title, body=told.body
        )
        await self._tell(tx, [notice])

    async def _tell(self, tx: Transaction, told: Sequence[Notice]) -> None:
        """Those that concern somebody."""
        addressed = [notice for notice in told if notice.recipient_id]
        await TransactionInboxes(tx, self._posting).tell(addressed, self._clock.now())


class ExportEvents:
    """What the gateway publishes of exports: a first receipt for a degraded file, a second for the full one."""

    def __init__(self, clock: Clock, posting: Posting) -> None:
        self._clock = clock
        self._posting = posting

    def handlers(self) -> dict[str, Handler]:
        return {
            "breakwater.gateway.v1.ExportDelivered": self.export_delivered,
            "breakwater.gateway.v1.ExportDegraded": self.export_degraded,
        }

    async def export_delivered(self, tx: Transaction, event: Received) -> None:
        told = ExportDelivered.FromString(event.data)
        notice = notices.export_delivered(
            export_id=told.export_id,
            requester_id=told.requester_id,
            supersedes=told.supersedes,
            rows=told.rows,
            fmt=told.format,
        )
        await TransactionInboxes(tx, self._posting).tell([notice], self._clock.now())

    async def export_degraded(self, tx: Transaction, event: Received) -> None:
        told = ExportDegraded.FromString(event.data)
        notice = notices.export_degraded(
            export_id=told.export_id,
            requester_id=told.requester_id,
            dependency=told.dependency,
            missing=tuple(told.missing),
        )
        await TransactionInboxes(tx, self._posting).tell([notice], self._clock.now())
