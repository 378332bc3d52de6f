"""Imports are worked on here: by any replica, chunk by chunk, going on wherever the one before was killed.

A chunk is one transaction: its rows, what follows from them, its refused rows, and how far the import is. An import is
leased; a replica that went silent loses the lease, and the next chunk of whoever has it shows the loser that it did.
"""

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from collections.abc import Mapping as ReadMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import FieldError, InvalidRequestError, UnavailableError
from breakwater.chassis.logging import get_logger
from services.leads.intake.imports import reading
from services.leads.intake.imports.domain import FileShape, ImportLimits, Rejection, reject
from services.leads.intake.imports.fields import Dataset
from services.leads.intake.imports.mapping import Mapping
from services.leads.intake.imports.rows import Record
from services.leads.intake.imports.targets import MAKES_REFS, TARGETS, Chunk, Reading, Stores, Target, person_finder
from services.leads.pipeline.domain import Recorded
from services.leads.pipeline.usecases import LinkPlace, link_waiting

PIECE_TIMEOUT_S = 60.0
"""For one piece of a file; the reading thread gives up then."""
LEASES_IN_VAIN_MAX = 10
"""Times an import may be taken without getting on; then it fails, or it might kill every process in turn."""

_log = get_logger(__name__)


class LeaseLostError(Exception):
    """Another replica has the import by now; what this one did since its last chunk is rolled back."""


@dataclass(frozen=True, slots=True)
class Job:
    """An import that this process holds the lease of."""

    id: str
    lease_id: str
    dataset: Dataset
    mapping: str
    mapping_document: str
    reassign: bool
    shape: FileShape
    rows: int | None
    """None: not counted yet."""
    rows_done: int
    leases_in_vain: int


class JobTransaction(Protocol):
    """One transaction of a job."""

    @property
    def stores(self) -> Stores: ...

    async def advance(self, job: Job, rows: Sequence[int], recorded: Recorded, rejections: Sequence[Rejection]) -> None:
        """Counts these rows of the file as done and reports what became of each.

        Raises LeaseLostError when the lease or the place is another one.
        """
        ...

    async def counted(self, job: Job, rows: int) -> None:
        """Notes how many rows there are; raises LeaseLostError."""
        ...

    async def replace_file(self, job: Job, number: int, piece: bytes) -> None:
        """Writes a piece of the file anew; number 0 drops all that were there."""
        ...

    async def reshaped(self, job: Job, shape: FileShape) -> None:
        """Notes that the file has another shape now; raises LeaseLostError."""
        ...

    async def finish(self, job: Job, failure: str, now: datetime) -> None:
        """Ends the import, drops its file, and adds ImportCompleted; raises LeaseLostError."""
        ...


class JobStore(Protocol):
    """What working on imports needs."""

    async def take(self, now: datetime, expires_at: datetime) -> Job | None:
        """The oldest import nobody works on, leased until `expires_at`."""
        ...

    async def renew(self, job: Job, expires_at: datetime) -> bool:
        """Keeps the lease; False when it is gone."""
        ...

    async def piece(self, job: Job, number: int) -> bytes | None:
        """One piece of the file."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[JobTransaction]:
        """One transaction, committed at the end of its block."""
        ...


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A row fit to be written."""

    record: Record
    item: Any


class ImportRunner:
    """Works on imports, one at a time."""

    def __init__(
        self,
        store: JobStore,
        mapping_of: Callable[[str, str], Mapping],
        clock: Clock,
        limits: ImportLimits,
        *,
        targets: ReadMapping[Dataset, Target] = TARGETS,
        checkpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`checkpoint` is told the points at which drills kill."""
        self._store = store
        self._mapping_of = mapping_of
        self._clock = clock
        self._limits = limits
        self._targets = targets
        self._checkpoint = checkpoint
        self._woken = asyncio.Event()
        self.busy = False
        """Rows are being written: what they cause can wait, the rows and the people of the meantime cannot."""

    def wake(self) -> None:
        """Somebody added an import."""
        self._woken.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            self._woken.clear()
            try:
                busy = await self.run_one()
            except (UnavailableError, LeaseLostError) as error:
                # The import stays leased until it expires; whoever takes it goes on at the same row.
                _log.warning("import_interrupted", error=str(error))
                busy = False
            if not busy:
                await self._pause()

    async def run_one(self) -> bool:
        """Takes one import and works on it to its end; False when there is none.

        Raises UnavailableError when PostgreSQL is out and LeaseLostError when another replica has the import.
        """
        job = await self._store.take(self._clock.now(), self._expiry())
        if job is None:
            return False
        self._checkpoint("taken")
        _log.info("import_taken", import_id=job.id, rows_done=job.rows_done)
        async with self._leased(job):
            if job.leases_in_vain > LEASES_IN_VAIN_MAX:
                await self._finish(job, f"It was given up after {LEASES_IN_VAIN_MAX} attempts that got nowhere.")
                return True
            try:
                await self._import(job)
            except InvalidRequestError as error:
                await self._finish(job, error.detail)
        return True

    async def _pause(self) -> None:
        waiting = asyncio.ensure_future(self._woken.wait())
        sleeping = asyncio.ensure_future(self._clock.sleep(self._limits.idle_poll_s))
        try:
            await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            sleeping.cancel()

    async def _import(self, job: Job) -> None:
        mapping = self._mapping_of(job.mapping, job.mapping_document)
        if job.shape.format == "xlsx":
            job = await self._converted(job, mapping)
        if job.rows is None:
            job = await self._counted(job, mapping)
        target = self._targets[job.dataset]
        async with self._store.transaction() as tx:
            read_with = Reading(mapping, person_finder((await tx.stores.capture.snapshot()).directory))
        rows = await asyncio.to_thread(
            reading.read, self._file(job), mapping, job.shape, self._limits, skip=job.rows_done
        )
        portion = await self._next(rows, target, read_with)
        self.busy = True
        try:
            while portion:
                # The next rows are read while these are written.
                following = asyncio.create_task(self._next(rows, target, read_with))
                try:
                    job = await self._write(job, target, portion)
                except BaseException:
                    following.cancel()
                    raise
                portion = await following
        finally:
            self.busy = False
        if job.dataset in MAKES_REFS:
            await self._link()
        await self._finish(job, "")

    # ---- reading, in a thread ----

    def _file(self, job: Job) -> BinaryIO:
        """The stored file, fetched piece by piece; to be read in another thread than the loop's."""
        loop = asyncio.get_running_loop()

        def fetch(number: int) -> bytes | None:
            return asyncio.run_coroutine_threadsafe(self._store.piece(job, number), loop).result(PIECE_TIMEOUT_S)

        return reading.stream_of(fetch)

    async def _converted(self, job: Job, mapping: Mapping) -> Job:
        content = io.BytesIO(await asyncio.to_thread(self._file(job).read))
        pieces = reading.as_csv(content, mapping, self._limits)
        async with self._store.transaction() as tx:
            for number in itertools.count():
                piece = await asyncio.to_thread(next, pieces, None)
                if piece is None:
                    break
                await tx.replace_file(job, number, piece)
            await tx.reshaped(job, reading.CONVERTED)
        self._checkpoint("converted")
        return replace(job, shape=reading.CONVERTED)

    async def _counted(self, job: Job, mapping: Mapping) -> Job:
        rows = await asyncio.to_thread(reading.count_rows, self._file(job), mapping, job.shape, self._limits)
        if rows > self._limits.rows_max:
            raise InvalidRequestError(f"The file has more than {self._limits.rows_max} rows.")
        async with self._store.transaction() as tx:
            await tx.counted(job, rows)
        self._checkpoint("counted")
        return replace(job, rows=rows)

    async def _next(
        self, rows: Iterator[Record | Rejection], target: Target, read_with: Reading
    ) -> list[_Prepared | Rejection]:
        def read() -> list[_Prepared | Rejection]:
            return [_prepared(row, target, read_with) for row in itertools.islice(rows, self._limits.chunk_rows)]

        return await asyncio.to_thread(read)

    # ---- writing, a transaction each ----

    async def _write(self, job: Job, target: Target, portion: Sequence[_Prepared | Rejection]) -> Job:
        """Writes the rows in one transaction; when they make it fail, in halves, until one row is refused."""
        try:
            return await self._write_at_once(job, target, portion)
        except (UnavailableError, LeaseLostError):
            raise
        except Exception as error:
            # A defect of ours must cost the row that shows it, not the file.
            if len(portion) > 1:
                _log.warning("import_rows_failed", import_id=job.id, rows=len(portion), error=repr(error))
                middle = len(portion) // 2
                job = await self._write(job, target, portion[:middle])
                return await self._write(job, target, portion[middle:])
            row = portion[0]
            if isinstance(row, Rejection):
                raise
            _log.exception("import_row_failed", import_id=job.id, row=row.record.row)
            reason = FieldError("", f"could not be stored ({type(error).__name__})")
            return await self._write_at_once(job, target, [reject(row.record.row, row.record.cells, [reason])])

    async def _write_at_once(self, job: Job, target: Target, portion: Sequence[_Prepared | Rejection]) -> Job:
        items = [row.item for row in portion if not isinstance(row, Rejection)]
        rejections = [row for row in portion if isinstance(row, Rejection)]
        recorded = Recorded()
        async with self._store.transaction() as tx:
            if items:
                chunk = Chunk(job.id, job.reassign, self._clock.now(), items)
                recorded = await target.write(tx.stores, chunk)
            await tx.advance(job, [_row_of(row) for row in portion], recorded, rejections)
            self._checkpoint("chunk_written")
        self._checkpoint("chunk_committed")
        return replace(job, rows_done=job.rows_done + len(portion))

    async def _link(self) -> None:
        place: LinkPlace | None = LinkPlace()
        while place is not None:
            async with self._store.transaction() as tx:
                place = await link_waiting(tx.stores.pipeline, place)
        self._checkpoint("linked")

    async def _finish(self, job: Job, failure: str) -> None:
        async with self._store.transaction() as tx:
            await tx.finish(job, failure, self._clock.now())
        self._checkpoint("finished")
        _log.info("import_finished", import_id=job.id, rows_done=job.rows_done, failure=failure)

    # ---- the lease ----

    def _expiry(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._limits.lease_s)

    @asynccontextmanager
    async def _leased(self, job: Job) -> AsyncIterator[None]:
        """Keeps the lease while the block runs."""
        keeping = asyncio.create_task(self._keep_lease(job))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _keep_lease(self, job: Job) -> None:
        kept = True
        while kept:
            await self._clock.sleep(self._limits.lease_s / 3)
            try:
                kept = await self._store.renew(job, self._expiry())
            except UnavailableError as error:
                _log.warning("import_lease_not_renewed", import_id=job.id, error=str(error))


def _row_of(row: _Prepared | Rejection) -> int:
    return row.row if isinstance(row, Rejection) else row.record.row


def _prepared(row: Record | Rejection, target: Target, read_with: Reading) -> _Prepared | Rejection:
    if isinstance(row, Rejection):
        return row
    try:
        return _Prepared(row, target.prepare(row, read_with))
    except InvalidRequestError as error:
        return reject(row.row, row.cells, error.errors or [FieldError("", error.detail)])
