"""Exports in PostgreSQL: each change and the events it causes are one transaction."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Record
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import Histogram

from breakwater.chassis import idempotency, metrics, outbox, wire
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import RateLimitedError
from breakwater.chassis.idempotency import KeyedRequest
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.ids import uuid7
from breakwater.chassis.outbox import OutboxEvent
from breakwater.gateway.v1.events_pb2 import ExportCancelled, ExportDegraded, ExportDelivered, ExportRequested
from services.gateway.exports.domain import (
    ENCRYPTED_XLSX,
    GBK_CSV,
    Degradation,
    Document,
    Engine,
    Export,
    ExportState,
    Fail,
    File,
    Letter,
    LookAgain,
    Spec,
)
from services.gateway.exports.usecases import Key
from services.gateway.translation import spec_to_wire

ROUTE = "POST /v1/exports"
DUE = "exports-due"
"""Announced when an export became due at once."""
_ENCRYPTED = "encrypted:"
"""Before the dataset of an encrypted export in its row. A release that does not know passwords finds no such dataset; so, when it
is put back while one waits, neither engine makes a plain file of it."""

_INSERT = """
INSERT INTO exports (id, job_id, requester_sub, requester_role, requester_scope, dataset, format, fields, filter, state,
                     supersedes, created_at, progressed_at, due_at, sequence, template_version, letter, sealed_password)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'queued', $10, $11, $11, $12, $13, $14, $15, $16)
"""
_TAKE_DUE = """
UPDATE exports SET due_at = $1::timestamptz + $2::interval, turn = turn + 1
WHERE id IN (SELECT id FROM exports WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING *
"""
_RENEW = """
UPDATE exports SET due_at = $1::timestamptz + $2::interval
FROM unnest($3::uuid[], $4::integer[]) AS held(id, turn)
WHERE exports.id = held.id AND exports.turn = held.turn AND due_at IS NOT NULL
"""
_LOOK_AGAIN = """
UPDATE exports SET
    due_at = $3, state = CASE WHEN $4 THEN 'running' ELSE state END,
    progressed_at = CASE WHEN $8 OR $5 > rows_done THEN $7 ELSE progressed_at END,
    rows_done = greatest(rows_done, $5), rows_total = greatest(rows_total, $6)
WHERE id = $1 AND turn = $2 AND due_at IS NOT NULL
"""
_COMPLETE = """
UPDATE exports SET state = 'completed', engine = 'files', rows = $2, rows_done = $2, rows_total = $2, size_bytes = $3,
    sha256 = $4, finished_at = $5, document = $6, due_at = NULL, sequence = sequence + 1, sealed_password = NULL
WHERE id = $1 AND due_at IS NOT NULL RETURNING *
"""
_SUPERSEDE = "UPDATE exports SET superseded_by = $2 WHERE id = $1"
_LESSER = """
UPDATE exports SET state = 'completed', engine = 'local', rows = $3, rows_done = $3, size_bytes = $4, sha256 = $5,
    degraded_dependency = $6, degraded_reason = $7, degraded_missing = $8, follow_up = $9, finished_at = $10,
    degraded_as_of = $11,
    document = NULL, due_at = NULL, sequence = sequence + 1, sealed_password = NULL
WHERE id = $1 AND turn = $2 AND
"""
_DEGRADE = f"{_LESSER} due_at IS NOT NULL RETURNING *"
_STAND_IN = f"{_LESSER} state = 'completed' AND engine = 'files' RETURNING *"
_FAIL = """
UPDATE exports SET state = 'failed', failure_code = $2, failure = $3, finished_at = $4, due_at = NULL,
    sealed_password = NULL
WHERE id = $1 AND due_at IS NOT NULL RETURNING created_at, supersedes
"""
_CANCEL = """
UPDATE exports SET state = 'cancelled', finished_at = $2, due_at = NULL, sequence = sequence + 1, sealed_password = NULL
WHERE id = $1 AND due_at IS NOT NULL RETURNING job_id, sequence
"""
_OPEN_OF_REQUESTER = (
    "SELECT count(*) FROM (SELECT FROM exports WHERE requester_sub = $1 AND due_at IS NOT NULL LIMIT $2) AS open"
)
_OPEN_OF_JOB = "SELECT * FROM exports WHERE job_id = $1 AND due_at IS NOT NULL FOR UPDATE"
_FAILURE_LENGTH_MAX = 1_000
_OPEN_RETRY_AFTER_S = 5.0

DURATION = Histogram(
    "breakwater_export_duration_seconds",
    "From a request to its first file, or to the end of a try: completed, degraded, failed, or refused for what was asked.",
    ("outcome",),
    buckets=metrics.WAIT_BUCKETS_S,
    registry=metrics.REGISTRY,
)
# There from the start: a series that begins with its first failure hides it from `increase`.
_DURATIONS = {outcome: DURATION.labels(outcome) for outcome in ("completed", "degraded", "failed", "refused")}
_OURS = frozenset(
    {
        *("encryption_unsupported", "export_failed", "internal", "password_lost", "rate_limited", "unavailable"),
        "worker_lost",
    }
)
"""Failures that are no answer to what was asked."""


class ExportStore:
    """The port of the use cases; `complete_job` and `fail_job` join the transaction of an event."""

    def __init__(self, database: Database, *, open_max: int) -> None:
        """`open_max`: exports that one requester has under way."""
        self._database = database
        self._open_max = open_max

    async def create(self, export: Export, key: Key) -> tuple[Export, bool]:
        """Stores the request and announces its job.

        An encrypted one is announced by RPC alone: events are kept for days, and a password is gone when it was used. Raises
        as `idempotency.replay` does, and `RateLimitedError` where the requester has too many under way.
        """
        keyed = KeyedRequest(export.requester.sub, ROUTE, key.key, key.body_hmac)
        async with self._database.transaction() as tx:
            replayed = await idempotency.replay(tx, keyed)
            if replayed is not None:
                row = await tx.fetchrow("SELECT * FROM exports WHERE id = $1", replayed.decode())
                if row is None:
                    raise LookupError("an idempotency key names an export that is gone")
                return _export(row), True
            if await tx.fetchval(_OPEN_OF_REQUESTER, export.requester.sub, self._open_max) >= self._open_max:
                raise RateLimitedError(
                    f"{self._open_max} of your exports are under way already",
                    code="exports_open",
                    retry_after_s=_OPEN_RETRY_AFTER_S,
                )
            events = [] if export.spec.encrypted else [_requested(export)]
            await _insert(tx, export, due_at=export.created_at, sequence=len(events))
            await outbox.add(tx, events)
            await idempotency.store(tx, keyed, export.id.encode())
            tx.announce(DUE)
        return export, False

    async def get(self, export_id: str) -> Export | None:
        """An export; None also for what is no id of ours."""
        try:
            key = UUID(export_id)
        except ValueError:
            return None
        async with self._database.read() as reader:
            row = await reader.fetchrow("SELECT * FROM exports WHERE id = $1", key)
        return _export(row) if row else None

    async def take_due(self, now: datetime, lease: timedelta, exports_max: int) -> Sequence[Export]:
        """Takes up what is due; the lease is the new due time, so a killed holder's exports come due again."""
        async with self._database.transaction() as tx:
            return [_export(row) for row in await tx.fetch(_TAKE_DUE, now, lease, exports_max)]

    async def renew(self, held: Sequence[Export], now: datetime, lease: timedelta) -> None:
        """Keeps what this process still works on."""
        async with self._database.transaction() as tx:
            await tx.execute(_RENEW, now, lease, [export.id for export in held], [export.turn for export in held])

    async def next_due(self) -> datetime | None:
        """When the earliest export comes due."""
        async with self._database.read() as reader:
            due: datetime | None = await reader.fetchval("SELECT min(due_at) FROM exports WHERE due_at IS NOT NULL")
        return due

    async def look_again(self, export: Export, step: LookAgain, now: datetime) -> None:
        """Puts it down until `step.at`; a newer taker's word stands."""
        job = step.job
        async with self._database.transaction() as tx:
            await tx.execute(
                _LOOK_AGAIN,
                export.id,
                export.turn,
                step.at,
                job is not None,
                job.rows_done if job else 0,
                job.rows_total if job else 0,
                now,
                job is not None and job.queue_moves,
            )

    async def complete(self, export: Export, file: File, now: datetime) -> None:
        """The full file is there; nothing happens when somebody wrote that before."""
        async with self._database.transaction() as tx:
            await _complete(tx, export.id, file, now)

    async def complete_job(self, tx: Transaction, job_id: str, file: File, now: datetime, *, encrypted: bool) -> None:
        """As `complete`, for whichever export waits for the job; a plain file ends no export that wants a password."""
        row = await _waiting_for(tx, job_id)
        if row is not None and (encrypted or not _is_encrypted(row)):
            await _complete(tx, str(row["id"]), file, now)

    async def degrade(
        self, export: Export, file: File, degradation: Degradation, now: datetime, follow_up_at: datetime
    ) -> None:
        """The lesser file is there, unless the full one came first; its follow-up is looked at from `follow_up_at`."""
        await self._lessen(_DEGRADE, export, file, degradation, now, follow_up_at)

    async def stand_in(
        self, export: Export, file: File, degradation: Degradation, now: datetime, follow_up_at: datetime
    ) -> None:
        """The lesser file takes the place of a full one that cannot be had; nothing where somebody was quicker."""
        await self._lessen(_STAND_IN, export, file, degradation, now, follow_up_at)

    async def _lessen(
        self,
        statement: str,
        export: Export,
        file: File,
        degradation: Degradation,
        now: datetime,
        follow_up_at: datetime,
    ) -> None:
        follow_up = uuid7()
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(
                statement,
                export.id,
                export.turn,
                file.rows,
                file.size_bytes,
                file.sha256,
                degradation.dependency,
                degradation.reason,
                list(degradation.missing),
                follow_up,
                now,
                degradation.as_of,
            )
            if row is None:
                return
            _measure(row, "degraded", now)
            full = replace(export, id=follow_up, supersedes=export.id, created_at=now)
            await _insert(tx, full, due_at=follow_up_at, sequence=0)
            degraded = ExportDegraded(
                export_id=export.id,
                requester_id=export.requester.sub,
                dependency=degradation.dependency,
                missing=degradation.missing,
            )
            await outbox.add(tx, [_event(degraded, export.id, row["sequence"], now)])

    async def cancel(self, export: Export, now: datetime) -> None:
        """Nobody wants it any more, and files is told; nothing happens where it ended before."""
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(_CANCEL, export.id, now)
            if row is not None:
                cancelled = ExportCancelled(export_id=str(row["job_id"]))
                await outbox.add(tx, [_event(cancelled, export.id, row["sequence"], now)])

    async def fail(self, export: Export, step: Fail, now: datetime) -> None:
        """It will not be made."""
        async with self._database.transaction() as tx:
            await _fail(tx, export.id, step, now)

    async def fail_job(self, tx: Transaction, job_id: str, step: Fail, now: datetime) -> None:
        """As `fail`, for whichever export waits for the job.

        An encrypted one may still fall back: what to do is decided when files is looked at, which is within seconds.
        """
        row = await _waiting_for(tx, job_id)
        if row is not None and not _is_encrypted(row):
            await _fail(tx, str(row["id"]), step, now)


async def _insert(tx: Transaction, export: Export, *, due_at: datetime, sequence: int) -> None:
    requester, spec = export.requester, export.spec
    await tx.execute(
        _INSERT,
        export.id,
        export.job_id,
        requester.sub,
        requester.role.value,
        requester.scope.value,
        _ENCRYPTED * spec.encrypted + spec.dataset,
        spec.kind,
        list(spec.fields),
        json.dumps(dict(spec.filter), ensure_ascii=False),
        export.supersedes,
        export.created_at,
        due_at,
        sequence,
        spec.template_version,
        json.dumps(asdict(spec.letter), ensure_ascii=False) if spec.letter else None,
        export.sealed_password,
    )


async def _waiting_for(tx: Transaction, job_id: str) -> Record | None:
    # Asked twice: an export being degraded at this moment is locked, and its follow-up is there once the lock is free.
    for _ in range(2):
        row = await tx.fetchrow(_OPEN_OF_JOB, job_id)
        if row is not None:
            return row
    return None


def _is_encrypted(row: Record) -> bool:
    return bool(row["format"] == ENCRYPTED_XLSX)


async def _complete(tx: Transaction, export_id: str, file: File, now: datetime) -> None:
    document = json.dumps(asdict(file.document)) if file.document else None
    row = await tx.fetchrow(_COMPLETE, export_id, file.rows, file.size_bytes, file.sha256, now, document)
    if row is None:
        return
    if row["supersedes"] is None:
        _measure(row, "completed", now)
    else:
        await tx.execute(_SUPERSEDE, row["supersedes"], row["id"])
    delivered = ExportDelivered(
        export_id=export_id,
        requester_id=row["requester_sub"],
        supersedes=str(row["supersedes"] or ""),
        rows=file.rows,
        format=Spec.format_of(row["format"]),
    )
    await outbox.add(tx, [_event(delivered, export_id, row["sequence"], now)])


async def _fail(tx: Transaction, export_id: str, step: Fail, now: datetime) -> None:
    row = await tx.fetchrow(_FAIL, export_id, step.code, step.reason[:_FAILURE_LENGTH_MAX], now)
    if row is not None:
        _measure(row, "failed" if step.code in _OURS else "refused", now)


def _measure(row: Record, outcome: str, now: datetime) -> None:
    # Within the transaction: one that fails to commit is counted again, which a ratio of thousands does not feel.
    _DURATIONS[outcome].observe(max(0.0, (now - row["created_at"]).total_seconds()))


def _requested(export: Export) -> OutboxEvent:
    message = ExportRequested(
        export_id=export.id,
        actor=wire.actor_to(export.requester),
        spec=spec_to_wire(export.spec),
        requested_at=_stamp(export.created_at),
    )
    return _event(message, export.id, 1, export.created_at)


def _event(message: Message, export_id: str, sequence: int, now: datetime) -> OutboxEvent:
    return OutboxEvent.of(message, subject_id=export_id, sequence=sequence, occurred_at=now)


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _export(row: Record) -> Export:
    return Export(
        id=str(row["id"]),
        job_id=str(row["job_id"]),
        requester=Actor(row["requester_sub"], Role(row["requester_role"]), Scope(row["requester_scope"])),
        spec=Spec(
            row["dataset"].removeprefix(_ENCRYPTED),
            Spec.format_of(row["format"]),
            tuple(row["fields"]),
            json.loads(row["filter"]),
            template_version=row["template_version"],
            encrypted=_is_encrypted(row),
            gbk=row["format"] == GBK_CSV,
            letter=_letter(row["letter"]),
        ),
        state=ExportState(row["state"]),
        created_at=row["created_at"],
        turn=row["turn"],
        progressed_at=row["progressed_at"],
        rows_done=row["rows_done"],
        rows_total=row["rows_total"],
        engine=Engine(row["engine"]) if row["engine"] else None,
        file=File(row["rows"], row["size_bytes"], row["sha256"], _document(row["document"])) if row["sha256"] else None,
        degradation=(
            Degradation(
                row["degraded_dependency"],
                row["degraded_reason"],
                tuple(row["degraded_missing"]),
                row["degraded_as_of"],
            )
            if row["degraded_dependency"]
            else None
        ),
        supersedes=_text(row["supersedes"]),
        superseded_by=_text(row["superseded_by"]),
        follow_up=_text(row["follow_up"]),
        sealed_password=row["sealed_password"],
        failure_code=row["failure_code"],
        failure=row["failure"],
        finished_at=row["finished_at"],
    )


def _letter(kept: str | None) -> Letter | None:
    if kept is None:
        return None
    letter = json.loads(kept)
    return Letter(**(letter | {"highlights": tuple(letter["highlights"])}))


def _document(kept: str | None) -> Document | None:
    return Document(**json.loads(kept)) if kept else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
