"""Export jobs in PostgreSQL: the end of a job and its event are one transaction."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from asyncpg import Record
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import FieldError, InvalidRequestError, RateLimitedError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.outbox import OutboxEvent
from breakwater.files.v1.events_pb2 import ExportCompleted, ExportFailed
from services.files.documents.domain import Stamp
from services.files.exports.domain import Artifact, Failure, Job, JobState, Letter, Progress, Spec
from services.files.translation import document_to_wire

CLAIMED = "export_claimed"
"""Announced when a job was added, to the workers of this process."""
_ENCRYPTED = "encrypted:"
"""Before the dataset of an encrypted job in its row. A release that does not know passwords finds no such dataset; so, when it is
put back while one waits, it makes no plain file of it."""
_FULL_RETRY_AFTER_S = 5.0

_ADD = """
INSERT INTO export_job (
    id, actor_sub, actor_role, actor_scope, dataset, format, fields, filter,
    state, due_at, failure_code, failure, requested_at, finished_at, template_version, letter, sealed_password
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (id) DO NOTHING
RETURNING *
"""
_QUEUED = "SELECT count(*) FROM (SELECT FROM export_job WHERE state = 'queued' LIMIT $1) AS waiting"
_TAKE = """
UPDATE export_job SET state = 'running', holder = $1, due_at = $3, takes = takes + 1, rows_done = 0
WHERE id = (
    SELECT job.id FROM export_job AS job
    JOIN (
        SELECT actor_sub, count(*) AS asked, count(*) FILTER (WHERE state = 'running' AND due_at > $2) AS in_hand
        FROM export_job WHERE state IN ('queued', 'running') GROUP BY actor_sub
    ) AS requester ON requester.actor_sub = job.actor_sub
    WHERE job.state IN ('queued', 'running') AND job.due_at <= $2
        -- Few rows are quickly written, but not quickly set on pages.
        AND ($4::bigint IS NULL OR job.rows_total <= $4 AND job.format <> 'pdf')
    ORDER BY requester.in_hand, CASE WHEN $4::bigint IS NULL THEN 0 ELSE requester.asked END, job.due_at
    LIMIT 1 FOR UPDATE OF job SKIP LOCKED
)
RETURNING *
"""
_WORKING = "SELECT EXISTS (SELECT FROM export_job WHERE state = 'running' AND due_at > $1)"
_HELD = "WHERE id = $1 AND holder = $2 AND state = 'running'"
_EXTEND = f"UPDATE export_job SET due_at = $3, rows_done = $4, rows_total = $5 {_HELD}"  # noqa: S608
_COMPLETE = f"""
UPDATE export_job SET state = 'completed', holder = NULL, due_at = $3, finished_at = $4, rows_done = $5, rows_total = $5,
    object_key = $6, size_bytes = $7, sha256 = $8, document = $9, sealed_password = NULL
{_HELD}
"""  # noqa: S608 (only constants of this module are put in)
_FAIL = f"""
UPDATE export_job SET state = 'failed', holder = NULL, due_at = $3, finished_at = $4, failure_code = $5, failure = $6,
    sealed_password = NULL
{_HELD}
"""  # noqa: S608
_PUT_BACK = f"""
UPDATE export_job SET state = 'queued', holder = NULL, due_at = $3, takes = 0, failures = $4, defects = $5 {_HELD}
"""  # noqa: S608
_CANCEL = """
UPDATE export_job SET state = 'cancelled', holder = NULL, due_at = $2, finished_at = $3, sealed_password = NULL
WHERE id = $1 AND state IN ('queued', 'running')
"""
_TAKE_EXPIRED = """
UPDATE export_job SET due_at = $2 WHERE id IN (
    SELECT id FROM export_job WHERE state IN ('completed', 'failed', 'cancelled') AND due_at <= $1
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING id
"""
_REMOVE = "DELETE FROM export_job WHERE id = $1 AND state IN ('completed', 'failed', 'cancelled')"


class TransactionClaims:
    """Claims in a transaction that is somebody else's: an event's, or a request's."""

    def __init__(self, tx: Transaction, *, queued_max: int, retention: timedelta) -> None:
        self._tx = tx
        self._queued_max = queued_max
        self._retention = retention

    async def add(self, job_id: str, actor: Actor, spec: Spec, now: datetime, failure: Failure | None) -> Job:
        """The job of that id, new or already known.

        Raises InvalidRequestError for an id that is no UUID, RateLimitedError when the queue is full.
        """
        id_ = _uuid(job_id)
        known = await self._tx.fetchrow("SELECT * FROM export_job WHERE id = $1", id_)
        if known is not None:
            return _job(known)
        if failure is None and await self._tx.fetchval(_QUEUED, self._queued_max) >= self._queued_max:
            raise RateLimitedError(
                f"{self._queued_max} exports are waiting already.",
                code="export_queue_full",
                retry_after_s=_FULL_RETRY_AFTER_S,
            )
        row = await self._tx.fetchrow(
            _ADD,
            id_,
            actor.sub,
            actor.role.value,
            actor.scope.value,
            _ENCRYPTED * spec.is_encrypted + spec.dataset,
            spec.format,
            list(spec.fields),
            json.dumps(dict(spec.filter), ensure_ascii=False),
            JobState.FAILED if failure else JobState.QUEUED,
            now + self._retention if failure else now,
            failure.code if failure else None,
            failure.reason if failure else None,
            now,
            now if failure else None,
            spec.template_version,
            json.dumps(asdict(spec.letter), ensure_ascii=False) if spec.letter else None,
            None if failure else spec.sealed_password,
        )
        if row is None:
            # Claimed at this very moment by the other way it can come.
            return await self.add(job_id, actor, spec, now, failure)
        if failure is not None:
            await _publish(self._tx, job_id, _failed(job_id, failure), now)
        self._tx.announce(CLAIMED)
        return _job(row)

    async def cancel(self, job_id: str, now: datetime) -> None:
        """Ends a job without a file: whoever makes it loses the lease. One that has ended, or is unknown, stays so.

        Raises InvalidRequestError for an id that is no UUID.
        """
        await self._tx.execute(_CANCEL, _uuid(job_id), now + self._retention, now)


class JobStore:
    """The jobs for requests and workers: each verb is a transaction of its own."""

    def __init__(self, database: Database, *, queued_max: int, retention: timedelta) -> None:
        self._database = database
        self._queued_max = queued_max
        self._retention = retention

    def within(self, tx: Transaction) -> TransactionClaims:
        """Claims in the transaction of an event."""
        return TransactionClaims(tx, queued_max=self._queued_max, retention=self._retention)

    async def add(self, job_id: str, actor: Actor, spec: Spec, now: datetime, failure: Failure | None) -> Job:
        """As `TransactionClaims.add`."""
        async with self._database.transaction() as tx:
            return await self.within(tx).add(job_id, actor, spec, now, failure)

    async def get(self, job_id: str) -> Job | None:
        """The job; None where there is none, or no such id can exist."""
        try:
            id_ = _uuid(job_id)
        except InvalidRequestError:
            return None
        async with self._database.read() as reader:
            row = await reader.fetchrow("SELECT * FROM export_job WHERE id = $1", id_)
        return _job(row) if row else None

    async def take(self, holder: str, now: datetime, until: datetime, rows_max: int | None = None) -> Job | None:
        """A job, now held until `until`; None when none is due.

        Of those of the requester with the fewest files in hand it is the one due longest. With `rows_max` none that is known
        to have more rows, and of those requesters the one who has asked for the fewest: who wants one file is seldom one of
        those whose many have to be looked at first.
        """
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(_TAKE, holder, now, until, rows_max)
        return _job(row) if row else None

    async def working(self, now: datetime) -> bool:
        """Whether some worker has a job in hand."""
        async with self._database.read() as reader:
            return bool(await reader.fetchval(_WORKING, now))

    async def extend(self, job: Job, progress: Progress, until: datetime) -> bool:
        """Keeps the lease and notes the progress; False when it is lost."""
        return await self._end(_EXTEND, job, until, progress.rows_done, progress.rows_total)

    async def complete(self, job: Job, artifact: Artifact, now: datetime, remove_at: datetime) -> bool:
        """Ends the job with its file and tells the world; False when the lease is lost."""
        event = ExportCompleted(
            export_id=job.id,
            rows=artifact.rows,
            size_bytes=artifact.size_bytes,
            sha256=artifact.sha256,
            finished_at=_timestamp(now),
            encrypted=job.spec.is_encrypted,
        )
        document = None
        if artifact.document is not None:
            event.document.CopyFrom(document_to_wire(artifact.document))
            document = json.dumps(asdict(artifact.document))
        values = remove_at, now, artifact.rows, artifact.key, artifact.size_bytes, artifact.sha256, document
        return await self._end(_COMPLETE, job, *values, event=event, now=now)

    async def fail(self, job: Job, failure: Failure, now: datetime, remove_at: datetime) -> bool:
        """Ends the job without a file and tells the world; False when the lease is lost."""
        event = _failed(job.id, failure)
        return await self._end(_FAIL, job, remove_at, now, failure.code, failure.reason, event=event, now=now)

    async def put_back(self, job: Job, due_at: datetime, *, failures: int, defects: int) -> bool:
        """Lets the job be taken again from `due_at` on; False when the lease is lost."""
        return await self._end(_PUT_BACK, job, due_at, failures, defects)

    async def take_expired(self, now: datetime, until: datetime, limit: int) -> list[str]:
        """Ids past their retention, left alone by others until `until`."""
        async with self._database.transaction() as tx:
            return [str(row["id"]) for row in await tx.fetch(_TAKE_EXPIRED, now, until, limit)]

    async def remove(self, job_id: str) -> None:
        """Forgets a job."""
        async with self._database.transaction() as tx:
            await tx.execute(
                "DELETE FROM export_job WHERE id = $1 AND state IN ('completed', 'failed', 'cancelled')", _uuid(job_id)
            )

    async def _end(
        self, statement: str, job: Job, *values: Any, event: Message | None = None, now: datetime | None = None
    ) -> bool:
        async with self._database.transaction() as tx:
            held = await tx.execute(statement, _uuid(job.id), job.holder, *values) == "UPDATE 1"
            if held and event is not None and now is not None:
                await _publish(tx, job.id, event, now)
        return held


async def _publish(tx: Transaction, job_id: str, event: Message, now: datetime) -> None:
    # A job ends once, so its only event is the first of its sequence.
    await outbox.add(tx, [OutboxEvent.of(event, subject_id=job_id, sequence=1, occurred_at=now)])


def _failed(job_id: str, failure: Failure) -> ExportFailed:
    return ExportFailed(export_id=job_id, code=failure.code, reason=failure.reason)


def _job(row: Record) -> Job:
    artifact = failure = None
    if row["object_key"] is not None:
        document = Stamp(**json.loads(row["document"])) if row["document"] else None
        artifact = Artifact(row["object_key"], row["rows_done"], row["size_bytes"], row["sha256"], document)
    if row["failure_code"] is not None:
        failure = Failure(row["failure_code"], row["failure"])
    return Job(
        id=str(row["id"]),
        actor=Actor(row["actor_sub"], Role(row["actor_role"]), Scope(row["actor_scope"])),
        spec=Spec(
            row["dataset"].removeprefix(_ENCRYPTED),
            row["format"],
            tuple(row["fields"]),
            json.loads(row["filter"]),
            template_version=row["template_version"],
            letter=_letter(row["letter"]),
            sealed_password=row["sealed_password"],
        ),
        state=JobState(row["state"]),
        requested_at=row["requested_at"],
        rows_done=row["rows_done"],
        rows_total=row["rows_total"],
        artifact=artifact,
        failure=failure,
        finished_at=row["finished_at"],
        holder=row["holder"],
        takes=row["takes"],
        failures=row["failures"],
        defects=row["defects"],
    )


def _letter(kept: str | None) -> Letter | None:
    if kept is None:
        return None
    letter = json.loads(kept)
    return Letter(**(letter | {"highlights": tuple(letter["highlights"])}))


def _uuid(job_id: str) -> UUID:
    try:
        return UUID(job_id)
    except ValueError as error:
        raise InvalidRequestError("The id is not ours.", errors=[FieldError("export_id", "is a UUID")]) from error


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
