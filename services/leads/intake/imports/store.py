"""Imports in PostgreSQL: files, leases, progress, refused rows."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import orjson
from asyncpg import Record as Row

from breakwater.chassis import idempotency, outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.idempotency import KeyedRequest
from breakwater.chassis.ids import uuid7
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import ImportCompleted
from services.leads.idempotence import Keyed
from services.leads.intake.domain import is_id
from services.leads.intake.imports.domain import FileShape, Import, ImportLimits, ImportState, Rejection, ReportedRow
from services.leads.intake.imports.fields import Dataset
from services.leads.intake.imports.reading import pieces_of
from services.leads.intake.imports.runner import Job, LeaseLostError
from services.leads.intake.imports.targets import Stores
from services.leads.intake.imports.usecases import NewImport
from services.leads.intake.store import PostgresCaptureStore
from services.leads.organisation.departments import Department, Head
from services.leads.organisation.directories import name_heads, note_members, place_departments
from services.leads.organisation.domain import Directory, Person
from services.leads.organisation.store import lock_organisation, upsert_people
from services.leads.pipeline.domain import Recorded
from services.leads.pipeline.store import PipelineSql
from services.leads.routing.store import Snapshots
from services.leads.rows import jsonb

WAKE_TOPIC = "imports"
"""Announced when an import was added (`Database.listen`)."""

_ADD = """
INSERT INTO imports (id, dataset, mapping, mapping_document, filename, reassign, format, encoding, delimiter,
                     started_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING *
"""
_TAKE = """
UPDATE imports SET state = 'running', lease_id = $2, lease_expires_at = $3, leases_in_vain = leases_in_vain + 1
WHERE id = (
    SELECT id FROM imports
    WHERE state IN ('queued', 'running') AND (lease_expires_at IS NULL OR lease_expires_at <= $1)
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING *
"""
# The place is compared too: a chunk counts once, whoever wrote it.
_ADVANCE = """
UPDATE imports SET rows_done = rows_done + $4, created = created + $5, merged = merged + $6, rejected = rejected + $7,
                   unlinked = unlinked + $8, leases_in_vain = 0
WHERE id = $1 AND lease_id = $2 AND rows_done = $3
"""
_REJECT = """
INSERT INTO import_rejections (import_id, row, field, reason, raw)
SELECT $1, (x->>0)::bigint, x->>1, x->>2, x->>3 FROM jsonb_array_elements($2::jsonb) AS x
"""
_REPORT = "INSERT INTO import_reports (import_id, last_row, rows) VALUES ($1, $2, $3::jsonb)"
_REPORT_CHUNKS = 4
"""Read at once."""
_FINISH = """
UPDATE imports SET state = CASE WHEN $3 = '' THEN 'completed' ELSE 'failed' END, failure = $3, finished_at = $4,
                   lease_id = NULL, lease_expires_at = NULL
WHERE id = $1 AND lease_id = $2
RETURNING *
"""


class PostgresStores:
    """`Stores` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: Snapshots) -> None:
        self._tx = tx
        self._snapshots = snapshots
        self.capture = PostgresCaptureStore(tx, snapshots)
        self.pipeline = PipelineSql(tx)

    async def lock_directory(self) -> Directory:
        await lock_organisation(self._tx)
        return (await self._snapshots.current(self._tx)).directory

    async def upsert_people(self, people: Sequence[Person]) -> None:
        await upsert_people(self._tx, people)

    async def place_departments(self, departments: Sequence[Department]) -> None:
        await place_departments(self._tx, departments)

    async def name_heads(self, heads: Sequence[Head], import_id: str) -> None:
        await name_heads(self._tx, heads, import_id)

    async def note_members(self, directory: str, person_ids: Sequence[str], import_id: str) -> None:
        await note_members(self._tx, directory, person_ids, import_id)


class PostgresImportStore:
    """`ImportStore` and `JobStore`. `stores_on` gives the stores that stand on a transaction."""

    def __init__(self, database: Database, stores_on: Callable[[Transaction], Stores], limits: ImportLimits) -> None:
        self._database = database
        self._stores_on = stores_on
        self._limits = limits

    # ---- taking and showing ----

    async def add(self, new: NewImport, content: bytes, request: Keyed) -> tuple[Import, bool]:
        keyed = KeyedRequest(request.actor, request.route, request.key, request.body_hmac)
        async with self._database.transaction() as tx:
            first = await idempotency.replay(tx, keyed)
            if first is not None:
                row = await tx.fetchrow("SELECT * FROM imports WHERE id = $1", first.decode())
                return _as_accepted(_import_from(row)), True
            row = await tx.fetchrow(
                _ADD,
                new.id,
                new.dataset.value,
                new.order.mapping,
                new.order.mapping_document,
                new.order.filename,
                new.order.reassign,
                new.shape.format,
                new.shape.encoding,
                new.shape.delimiter,
                new.started_by,
                new.created_at,
            )
            for number, piece in enumerate(pieces_of(content, self._limits)):
                await _write_piece(tx, new.id, number, piece)
            await idempotency.store(tx, keyed, new.id.encode())
            tx.announce(WAKE_TOPIC)
        return _import_from(row), False

    async def get(self, import_id: str) -> Import | None:
        if not is_id(import_id):
            return None
        async with self._database.read() as reader:
            row = await reader.fetchrow("SELECT * FROM imports WHERE id = $1", import_id)
        return _import_from(row) if row else None

    async def rejections(self, import_id: str, after_row: int, limit: int) -> list[Rejection]:
        async with self._database.read() as reader:
            rows = await reader.fetch(
                """
                SELECT row, field, reason, raw FROM import_rejections
                WHERE import_id = $1 AND row > $2 ORDER BY row LIMIT $3
                """,
                import_id,
                after_row,
                limit,
            )
        return [Rejection(**row) for row in rows]

    async def report(self, import_id: str, after_row: int) -> tuple[list[ReportedRow], int]:
        async with self._database.read() as reader:
            chunks = await reader.fetch(
                """
                SELECT last_row, rows FROM import_reports
                WHERE import_id = $1 AND last_row > $2 ORDER BY last_row LIMIT $3
                """,
                import_id,
                after_row,
                _REPORT_CHUNKS,
            )
            if not chunks:
                return [], 0
            last_row = chunks[-1]["last_row"]
            refused = await reader.fetch(
                """
                SELECT row, field, reason FROM import_rejections
                WHERE import_id = $1 AND row > $2 AND row <= $3
                """,
                import_id,
                after_row,
                last_row,
            )
        rows = [ReportedRow(*entry) for chunk in chunks for entry in orjson.loads(chunk["rows"])]
        rows += [ReportedRow(row["row"], "rejected", "", row["field"], row["reason"]) for row in refused]
        return sorted(rows, key=lambda each: each.row), last_row

    # ---- working ----

    async def take(self, now: datetime, expires_at: datetime) -> Job | None:
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(_TAKE, now, uuid7(), expires_at)
        return _job_from(row) if row else None

    async def renew(self, job: Job, expires_at: datetime) -> bool:
        async with self._database.transaction() as tx:
            tag = await tx.execute(
                "UPDATE imports SET lease_expires_at = $3 WHERE id = $1 AND lease_id = $2",
                job.id,
                job.lease_id,
                expires_at,
            )
        return tag == "UPDATE 1"

    async def piece(self, job: Job, number: int) -> bytes | None:
        async with self._database.read() as reader:
            content: bytes | None = await reader.fetchval(
                "SELECT content FROM import_pieces WHERE import_id = $1 AND number = $2", job.id, number
            )
        return content

    @asynccontextmanager
    async def transaction(self, *, long: bool = False) -> AsyncIterator["PostgresJobTransaction"]:
        async with self._database.transaction(long=long) as tx:
            yield PostgresJobTransaction(tx, self._stores_on(tx))


class PostgresJobTransaction:
    """`JobTransaction`."""

    def __init__(self, tx: Transaction, stores: Stores) -> None:
        self._tx = tx
        self.stores = stores

    async def advance(self, job: Job, rows: Sequence[int], recorded: Recorded, rejections: Sequence[Rejection]) -> None:
        refused_rows = {each.row for each in rejections}
        taken = [row for row in rows if row not in refused_rows]
        report = jsonb((row, *outcome) for row, outcome in zip(taken, recorded.outcomes, strict=True))
        await self._tx.execute(_REPORT, job.id, max(rows), report)
        if rejections:
            refused = jsonb((each.row, each.field, each.reason, each.raw) for each in rejections)
            await self._tx.execute(_REJECT, job.id, refused)
        # Last, because it locks the row that the lease is kept in.
        tag = await self._tx.execute(
            _ADVANCE,
            job.id,
            job.lease_id,
            job.rows_done,
            len(rows),
            recorded.created,
            recorded.merged,
            len(rejections),
            recorded.unlinked,
        )
        _check_lease(job, tag)

    async def counted(self, job: Job, rows: int) -> None:
        _check_lease(
            job,
            await self._tx.execute(
                "UPDATE imports SET rows = $3 WHERE id = $1 AND lease_id = $2", job.id, job.lease_id, rows
            ),
        )

    async def replace_file(self, job: Job, number: int, piece: bytes) -> None:
        if number == 0:
            await self._tx.execute("DELETE FROM import_pieces WHERE import_id = $1", job.id)
        await _write_piece(self._tx, job.id, number, piece)

    async def reshaped(self, job: Job, shape: FileShape) -> None:
        _check_lease(
            job,
            await self._tx.execute(
                "UPDATE imports SET format = $3, encoding = $4, delimiter = $5 WHERE id = $1 AND lease_id = $2",
                job.id,
                job.lease_id,
                shape.format,
                shape.encoding,
                shape.delimiter,
            ),
        )

    async def finish(self, job: Job, failure: str, now: datetime) -> None:
        row = await self._tx.fetchrow(_FINISH, job.id, job.lease_id, failure, now)
        if row is None:
            raise LeaseLostError(job.id)
        await self._tx.execute("DELETE FROM import_pieces WHERE import_id = $1", job.id)
        event = ImportCompleted(
            import_id=job.id,
            dataset=row["dataset"],
            started_by=row["started_by"],
            rows=row["rows"] or 0,
            created=row["created"],
            merged=row["merged"],
            rejected=row["rejected"],
            failure=failure,
        )
        await outbox.add(self._tx, [OutboxEvent.of(event, subject_id=job.id, sequence=1, occurred_at=now)])


async def _write_piece(tx: Transaction, import_id: str, number: int, piece: bytes) -> None:
    await tx.execute(
        "INSERT INTO import_pieces (import_id, number, content) VALUES ($1, $2, $3)", import_id, number, piece
    )


def _as_accepted(found: Import) -> Import:
    """The import as its first answer showed it."""
    return replace(
        found, state=ImportState.QUEUED, rows=0, rows_done=0, created=0, merged=0, rejected=0, unlinked=0, failure="",
        finished_at=None,
    )  # fmt: skip


def _check_lease(job: Job, tag: str) -> None:
    if tag != "UPDATE 1":
        raise LeaseLostError(job.id)


def _import_from(row: Row | None) -> Import:
    if row is None:
        raise RuntimeError("an import that was accepted is not there")
    return Import(
        id=str(row["id"]),
        state=ImportState(row["state"]),
        dataset=row["dataset"],
        mapping=row["mapping"],
        filename=row["filename"],
        started_by=row["started_by"],
        rows=row["rows"] or 0,
        rows_done=row["rows_done"],
        created=row["created"],
        merged=row["merged"],
        rejected=row["rejected"],
        unlinked=row["unlinked"],
        failure=row["failure"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


def _job_from(row: Row) -> Job:
    return Job(
        id=str(row["id"]),
        lease_id=str(row["lease_id"]),
        dataset=Dataset(row["dataset"]),
        mapping=row["mapping"],
        mapping_document=row["mapping_document"],
        reassign=row["reassign"],
        shape=FileShape(row["format"], row["encoding"], row["delimiter"]),
        rows=row["rows"],
        rows_done=row["rows_done"],
        leases_in_vain=row["leases_in_vain"],
    )
