"""Work on leads in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from breakwater.chassis import idempotency, outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import ActivityRecorded, LeadClaimed, LeadStageChanged
from services.leads.documents.store import Newest
from services.leads.followups.playbook import Playbook
from services.leads.followups.steps import Step, keep_steps
from services.leads.followups.usecases import Background, KeptFollowUp, Work
from services.leads.idempotence import Keyed
from services.leads.intake.capture import Lead
from services.leads.intake.changes.store import attribute
from services.leads.intake.domain import is_id
from services.leads.intake.reads import LEAD_COLUMNS, lead_from
from services.leads.intake.store import keyed_request
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots
from services.leads.sla.timers import claim_timer, stop_timers
from services.leads.timestamps import timestamp


class PostgresWorkStore:
    """The `WorkStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: Snapshots, playbooks: Newest[Playbook]) -> None:
        self._tx = tx
        self._snapshots = snapshots
        self._playbooks = playbooks

    @classmethod
    @asynccontextmanager
    async def begin(
        cls, database: Database, snapshots: Snapshots, playbooks: Newest[Playbook]
    ) -> AsyncIterator["PostgresWorkStore"]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots, playbooks)

    async def first_answer(self, request: Keyed) -> bytes | None:
        return await idempotency.replay(self._tx, keyed_request(request))

    async def keep_answer(self, request: Keyed, content: bytes) -> None:
        await idempotency.store(self._tx, keyed_request(request), content)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._tx)

    async def playbook(self) -> Playbook:
        return await self._playbooks.current(self._tx)

    async def lock_lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None:
        if not is_id(lead_id):
            return None
        row = await self._tx.fetchrow(
            f"""
            SELECT {LEAD_COLUMNS} FROM leads
            WHERE id = $1 AND ($2::text[] IS NULL OR owner_id = ANY($2)) FOR UPDATE
            """,  # noqa: S608 - a constant
            lead_id,
            owners,
        )
        return lead_from(row) if row else None

    async def background(self, lead: Lead) -> Background:
        # A statement of its own: it must see what those committed who held the lead's lock before us.
        row = await self._tx.fetchrow(
            """
            SELECT owner.id AS owner_id, coalesce(p.name, owner.id, '') AS owner_name, (
                SELECT first_touch_at FROM follow_ups WHERE lead_id = $1 ORDER BY id LIMIT 1
            ) AS first_touch_at
            FROM customers AS c, LATERAL (SELECT coalesce(c.owner_id, $3) AS id) AS owner
                 LEFT JOIN people AS p ON p.id = owner.id
            WHERE c.id = $2
            """,
            lead.id,
            lead.customer_id,
            lead.owner_id,
        )
        if row is None:
            raise RuntimeError(f"lead {lead.id} has no customer")
        return Background(**row)

    async def write(self, work: Work) -> None:
        if work.claimed or work.moved_from is not None:
            await attribute(self._tx, work.actor_sub, work.reason)
        sequence = await self._update_lead(work)
        if work.follow_up is not None or work.moved_from is not None:
            await stop_timers(self._tx, [work.lead.id])
        elif work.claimed:
            await claim_timer(self._tx, await self.snapshot(), work.lead)
        if work.closes and work.lead.owner_id is not None:
            await self._tx.execute(
                "UPDATE workloads SET open_leads = open_leads - 1 WHERE person_id = $1", work.lead.owner_id
            )
        await keep_steps(self._tx, _steps(work), work.at)
        if work.follow_up is not None:
            await self._insert_follow_up(work.follow_up)
        await outbox.add(self._tx, _events(work, sequence))

    async def _update_lead(self, work: Work) -> int:
        """Returns the sequence of the first event this work makes."""
        events = int(work.claimed) + int(work.moved_from is not None)
        last = await self._tx.fetchval(
            """
            UPDATE leads SET claimed_at = $2, stage = $3, sequence = sequence + $4,
                   -- Answered while the clock stood: in time.
                   claim_by = CASE WHEN $5 AND claim_by IS NULL AND EXISTS (
                       SELECT FROM first_touch_timers WHERE lead_id = $1 AND stage = 1 AND paused_at IS NOT NULL
                   ) THEN $2 ELSE claim_by END
            WHERE id = $1 RETURNING sequence
            """,
            work.lead.id,
            work.lead.claimed_at,
            work.lead.draft.stage,
            events,
            work.claimed,
        )
        return int(last) - events + 1

    async def _insert_follow_up(self, kept: KeptFollowUp) -> None:
        record = kept.record
        await self._tx.execute(
            """
            INSERT INTO follow_ups (id, lead_id, customer_id, author_id, goal, customer_words, our_response,
                                    next_action, next_action_due, blocker, objection, pain_tags, created_at,
                                    source, first_touch_at, stage, action_code)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
            """,
            *(kept.id, kept.lead_id, kept.customer_id, kept.author_id),
            *(record.goal, record.customer_words, record.our_response, record.next_action, record.next_action_due),
            *(record.blocker, record.objection, record.pain_tags, kept.created_at),
            *(record.source, record.first_touch_at, record.stage, record.action_code),
        )


def _steps(work: Work) -> list[Step]:
    steps = [Step(work.lead.id, "claimed", work.actor_sub)] if work.claimed else []
    if work.moved_from is not None:
        stages = (work.moved_from, work.lead.draft.stage)
        steps.append(Step(work.lead.id, "stage_changed", work.actor_sub, *stages, work.reason))
    return steps


def _events(work: Work, sequence: int) -> list[OutboxEvent]:
    lead, events = work.lead, []
    at = timestamp(work.at)
    if work.claimed:
        claimed = LeadClaimed(
            lead_id=lead.id, customer_id=lead.customer_id, owner_id=lead.owner_id or "", claimed_at=at
        )
        events.append(OutboxEvent.of(claimed, subject_id=lead.id, sequence=sequence, occurred_at=work.at))
        sequence += 1
    if work.moved_from is not None:
        moved = LeadStageChanged(
            lead_id=lead.id,
            customer_id=lead.customer_id,
            from_stage=work.moved_from,
            to_stage=lead.draft.stage,
            reason=work.reason,
        )
        events.append(OutboxEvent.of(moved, subject_id=lead.id, sequence=sequence, occurred_at=work.at))
    if work.follow_up is not None:
        recorded = ActivityRecorded(
            activity_id=work.follow_up.id,
            customer_id=lead.customer_id,
            kind="follow_up",
            occurred_at=at,
            owner_id=work.actor_sub,
        )
        events.append(OutboxEvent.of(recorded, subject_id=work.follow_up.id, sequence=1, occurred_at=work.at))
    return events
