"""Making the files, a bounded number at a time, each under a lease."""

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import (
    BreakwaterError,
    ConflictError,
    InternalError,
    PayloadTooLargeError,
    UnavailableError,
)
from services.files.exports.domain import (
    Artifact,
    Failure,
    Format,
    Job,
    Limits,
    Progress,
    after_failure,
    lost_too_often,
)
from services.files.exports.usecases.ports import Encoder, Jobs, Objects, Rows, Seals

_SWEPT_MAX = 100

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a worker spends its time."""

    concurrency_max: int = 2
    quick_concurrency_max: int = 2
    """Beside those, slots that only make files of few rows: a small export does not wait for large ones."""
    quick_rows_max: int = 20_000
    stalled_s: float = 30.0
    """A file that no row is added to for so long is given up and tried again: others wait behind it."""
    document_stalled_s: float = 300.0
    """The same for a PDF, which is set as a whole after its last row."""
    lease_s: float = 3.0
    heartbeat_s: float = 1.0
    poll_s: float = 1.0
    sweep_s: float = 300.0


class Workers:
    """Makes the files: a bounded number at a time, each under a lease that is kept up while work goes on."""

    def __init__(
        self,
        jobs: Jobs,
        rows: Rows,
        encoder: Encoder,
        objects: Objects,
        seals: Seals,
        clock: Clock,
        *,
        name: str,
        limits: Limits | None = None,
        pace: Pace | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`name` tells this process from every other one, those before a restart included."""
        self._jobs = jobs
        self._rows = rows
        self._encoder = encoder
        self._objects = objects
        self._seals = seals
        self._clock = clock
        self._name = name
        self._limits = limits or Limits()
        self._pace = pace or Pace()
        self._rng = rng or random.Random()  # noqa: S311 (spreads retries, keeps no secret)
        self._woken = asyncio.Event()
        self._large_in_hand = 0
        self._crowded = asyncio.Event()
        """Every slot that takes any file has one: only now are there others to wait for."""

    def wake(self) -> None:
        """A job was claimed: look at once."""
        self._woken.set()

    async def run(self) -> None:
        """Works until cancelled; what is in hand then is put back for the next."""
        async with asyncio.TaskGroup() as slots:
            for number in range(self._pace.concurrency_max):
                slots.create_task(self._work(f"{self._name}-{number}", None))
            for number in range(self._pace.quick_concurrency_max):
                slots.create_task(self._work(f"{self._name}-quick-{number}", self._pace.quick_rows_max))

    async def sweep(self) -> None:
        """Removes files past their retention, until cancelled."""
        while True:
            try:
                while await self._sweep_some():
                    pass
            except BreakwaterError as error:
                _log.warning("sweep put off: %s", error.detail)
            await self._clock.sleep(self._pace.sweep_s)

    async def make_next(self, holder: str, rows_max: int | None = None) -> bool:
        """Takes the next job and makes its file; False when none is due.

        Next is, of those due longest, one of the requester who has the fewest files made at the moment. With `rows_max` a
        job of more rows is left to others.
        """
        now = self._clock.now()
        job = await self._jobs.take(holder, now, self._lease_end(), rows_max)
        if job is None:
            return False
        failure = lost_too_often(job, self._limits)
        if failure is not None:
            await self._jobs.fail(job, failure, now, self._remove_at())
            return True
        if rows_max is not None:
            await self._make(job, rows_max)
            return True
        self._large_in_hand += 1
        if self._large_in_hand == self._pace.concurrency_max:
            self._crowded.set()
        try:
            await self._make(job, None)
        finally:
            self._large_in_hand -= 1
            self._crowded.clear()
        return True

    async def _work(self, holder: str, rows_max: int | None) -> None:
        while True:
            if rows_max is not None:
                await self._crowded.wait()
            try:
                busy = await self.make_next(holder, rows_max)
            except BreakwaterError as error:
                # The job's row is out of reach: its lease ends by itself and somebody takes it again.
                _log.warning("job left to its lease: %s", error.detail)
                busy = False
            if not busy:
                woken = asyncio.create_task(self._woken.wait())
                try:
                    await self._first_of(woken, within_s=self._pace.poll_s)
                finally:
                    woken.cancel()
                self._woken.clear()

    async def _make(self, job: Job, rows_max: int | None) -> None:
        progress = Progress()
        try:
            artifact = await self._under_lease(job, progress, rows_max)
            if not await self._jobs.complete(job, artifact, self._clock.now(), self._remove_at()):
                await self._objects.delete(artifact.key)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(job))
            raise
        except _TooManyRowsError:
            # Nobody knew before. Now its row does, and it keeps its place.
            await self._jobs.extend(job, progress, self._lease_end())
            await self._jobs.put_back(job, job.requested_at, failures=job.failures, defects=job.defects)
            self.wake()
        except _LeaseLostError:
            _log.warning("export %s: another worker has it", job.id)
        except BreakwaterError as error:
            await self._failed(job, error)
        except Exception:  # noqa: BLE001 (a defect, whatever it is: logged, counted, and the job ends after a few)
            _log.exception("export %s met a defect", job.id)
            await self._failed(job, InternalError("internal error"))

    async def _failed(self, job: Job, error: BreakwaterError) -> None:
        now = self._clock.now()
        outcome = after_failure(job, error, now, self._limits, self._rng.random())
        _log.warning("export %s: %s (%s): %s", job.id, error.detail, error.dependency or error.code, outcome)
        if isinstance(outcome, Failure):
            await self._jobs.fail(job, outcome, now, self._remove_at())
        else:
            defect = isinstance(error, InternalError)
            await self._jobs.put_back(job, outcome, failures=job.failures + (not defect), defects=job.defects + defect)

    async def _give_back(self, job: Job) -> None:
        try:
            await self._jobs.put_back(job, self._clock.now(), failures=job.failures, defects=job.defects)
        except BreakwaterError as error:
            _log.warning("export %s left to its lease: %s", job.id, error.detail)

    async def _under_lease(self, job: Job, progress: Progress, rows_max: int | None) -> Artifact:
        rows_done, since = 0, self._clock.now()
        stalled_s = self._pace.document_stalled_s if job.spec.format == Format.PDF else self._pace.stalled_s
        work = asyncio.create_task(self._produce(job, progress, rows_max))
        try:
            while True:
                await self._first_of(work, within_s=self._pace.heartbeat_s)
                if work.done():
                    return work.result()
                if not await self._extend(job, progress):
                    raise _LeaseLostError
                now = self._clock.now()
                if progress.rows_done > rows_done:
                    rows_done, since = progress.rows_done, now
                elif now - since >= timedelta(seconds=stalled_s):
                    raise UnavailableError(f"no row was written for {stalled_s:.0f} s")
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _extend(self, job: Job, progress: Progress) -> bool:
        try:
            return await self._jobs.extend(job, progress, self._lease_end())
        except BreakwaterError:
            # Unknown whether the lease still holds: the end of the job will tell, and is guarded by it.
            return True

    async def _produce(self, job: Job, progress: Progress, rows_max: int | None) -> Artifact:
        password = self._password(job)
        # An earlier worker may have died over it: what it left belongs to nobody.
        await self._objects.clear(_folder(job.id))
        key = f"{_folder(job.id)}/{job.holder}.{job.spec.format}"
        digest, size_bytes = hashlib.sha256(), 0
        async with aclosing(self._rows.chunks(job.actor, job.spec, progress)) as chunks:
            # No encoder is started for rows that do not come, or are too many: in a crowd that is what takes time.
            first = await anext(chunks, b"")
            if rows_max is not None and progress.rows_total > rows_max:
                raise _TooManyRowsError
            async with (
                self._objects.writing(key) as write,
                aclosing(self._encoder.encode(job, _with_first(first, chunks), progress, password)) as pieces,
            ):
                async for piece in pieces:
                    size_bytes += len(piece)
                    self._check_size(progress, size_bytes)
                    digest.update(piece)
                    await write(piece)
        return Artifact(key, progress.rows_done, size_bytes, digest.hexdigest(), progress.document)

    def _password(self, job: Job) -> str | None:
        if not job.spec.is_encrypted:
            return None
        password = self._seals.open(job.spec.sealed_password or b"", job.id)
        if password is None:
            raise ConflictError("The password of this export can no longer be opened.", code="password_lost")
        return password

    def _check_size(self, progress: Progress, size_bytes: int) -> None:
        if max(progress.rows_done, progress.rows_total) > self._limits.rows_max:
            raise PayloadTooLargeError(f"An export has at most {self._limits.rows_max} rows; narrow the filter.")
        if size_bytes > self._limits.size_bytes_max:
            raise PayloadTooLargeError(f"A file has at most {self._limits.size_bytes_max} bytes; narrow the filter.")

    async def _sweep_some(self) -> bool:
        now = self._clock.now()
        expired = await self._jobs.take_expired(now, now + timedelta(seconds=self._pace.sweep_s), _SWEPT_MAX)
        for job_id in expired:
            await self._objects.clear(_folder(job_id))
            await self._jobs.remove(job_id)
        return len(expired) == _SWEPT_MAX

    async def _first_of(self, task: asyncio.Task[Any], *, within_s: float) -> None:
        timer = asyncio.create_task(self._clock.sleep(within_s))
        try:
            await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    def _lease_end(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._pace.lease_s)

    def _remove_at(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._limits.retention_s)


async def _with_first(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for chunk in rest:
        yield chunk


def _folder(job_id: str) -> str:
    return f"exports/{job_id}"


class _LeaseLostError(Exception):
    """The lease ended while the work went on: the work belongs to somebody else."""


class _TooManyRowsError(Exception):
    """The file is none for a quick slot."""
