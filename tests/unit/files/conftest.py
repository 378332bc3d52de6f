"""Fakes at the ports of the export use cases; they keep what a real one would keep, and fail when told to."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.sealing import Seals
from services.files.exports.domain import Job, JobState, Limits, Spec
from services.files.exports.usecases.requests import Exports
from services.files.exports.usecases.workers import Pace, Workers


@dataclass
class FakeJobs:
    """Jobs in memory, guarded by their holder as those in PostgreSQL are."""

    jobs: dict = field(default_factory=dict)
    due: dict = field(default_factory=dict)
    taken: list = field(default_factory=list)
    out: Exception | None = None
    deaf: bool = False
    """Does not hear heart-beats: as if the lease had been taken over."""

    async def add(self, job_id, actor, spec, now, failure):
        self._reach()
        if job_id not in self.jobs:
            state = JobState.FAILED if failure else JobState.QUEUED
            self.jobs[job_id] = Job(job_id, actor, spec, state, requested_at=now, failure=failure)
            self.due[job_id] = now
        return self.jobs[job_id]

    async def get(self, job_id):
        self._reach()
        return self.jobs.get(job_id)

    async def take(self, holder, now, until, rows_max=None):
        self._reach()
        open_ = [
            j
            for j in self.jobs.values()
            if j.state in {JobState.QUEUED, JobState.RUNNING}
            and self.due[j.id] <= now
            and (rows_max is None or j.rows_total <= rows_max)
        ]
        if not open_:
            return None
        job = min(open_, key=lambda each: self.due[each.id])
        self.due[job.id] = until
        self.taken.append(self._set(job, state=JobState.RUNNING, holder=holder, takes=job.takes + 1))
        return self.taken[-1]

    async def working(self, now):
        self._reach()
        return any(j.state is JobState.RUNNING and self.due[j.id] > now for j in self.jobs.values())

    async def extend(self, job, progress, until):
        self._reach()
        if self.deaf or not self._holds(job):
            return False
        self.due[job.id] = until
        self._set(job, rows_done=progress.rows_done, rows_total=progress.rows_total)
        return True

    async def complete(self, job, artifact, now, remove_at):
        return self._end(job, remove_at, state=JobState.COMPLETED, artifact=artifact, finished_at=now)

    async def fail(self, job, failure, now, remove_at):
        return self._end(job, remove_at, state=JobState.FAILED, failure=failure, finished_at=now)

    async def put_back(self, job, due_at, *, failures, defects):
        return self._end(job, due_at, state=JobState.QUEUED, takes=0, failures=failures, defects=defects)

    async def take_expired(self, now, until, limit):
        self._reach()
        done = [
            j.id
            for j in self.jobs.values()
            if j.state in {JobState.COMPLETED, JobState.FAILED} and self.due[j.id] <= now
        ]
        self.due |= dict.fromkeys(done[:limit], until)
        return done[:limit]

    async def remove(self, job_id):
        del self.jobs[job_id]

    def _reach(self):
        if self.out is not None:
            raise self.out

    def _holds(self, job):
        now = self.jobs.get(job.id)
        return now is not None and now.state is JobState.RUNNING and now.holder == job.holder

    def _end(self, job, due_at, **changes):
        self._reach()
        if not self._holds(job):
            return False
        self.due[job.id] = due_at
        if changes["state"] is not JobState.QUEUED:
            changes["spec"] = replace(job.spec, sealed_password=None)
        self._set(job, holder=None, **changes)
        return True

    def _set(self, job, **changes):
        self.jobs[job.id] = replace(self.jobs[job.id], **changes)
        return self.jobs[job.id]


@dataclass
class FakeRows:
    """Chunks of rows; `gate` holds them back, `failure` ends them."""

    made: list = field(default_factory=lambda: [b"head", b"one", b"two"])
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    asked: list = field(default_factory=list)

    async def chunks(self, actor, spec, progress):
        self.asked.append((actor, spec))
        progress.rows_total = 3
        for chunk in self.made:
            yield chunk
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure


@dataclass
class FakeEncoder:
    """A file is its chunks in brackets, after the password; each chunk is a row."""

    started: int = 0

    async def encode(self, job, chunks, progress, password):
        self.started += 1
        if password is not None:
            yield password.encode()
        async for chunk in chunks:
            progress.rows_done += 1
            yield b"<" + chunk + b">"


@dataclass
class FakeObjects:
    """Objects in memory that appear whole or not at all."""

    kept: dict = field(default_factory=dict)
    uploads: int = 0
    failure: Exception | None = None

    @asynccontextmanager
    async def writing(self, key):
        if self.failure is not None:
            raise self.failure
        pieces = []

        async def write(data):
            pieces.append(data)

        self.uploads += 1
        try:
            yield write
        finally:
            self.uploads -= 1
        self.kept[key] = b"".join(pieces)

    async def read(self, key, offset, length):
        yield self.kept[key][offset : offset + length]

    async def delete(self, key):
        self.kept.pop(key, None)

    async def clear(self, folder):
        self.kept = {key: content for key, content in self.kept.items() if not key.startswith(folder + "/")}


@dataclass
class Desk:
    """All of it together, with a clock turned by hand."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    jobs: FakeJobs = field(default_factory=FakeJobs)
    rows: FakeRows = field(default_factory=FakeRows)
    objects: FakeObjects = field(default_factory=FakeObjects)
    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    seals: Seals = field(default_factory=lambda: Seals(bytes(range(32))))
    limits: Limits = field(default_factory=Limits)
    actor: Actor = field(default_factory=lambda: Actor("1001", Role.SALES, Scope.OWN))
    spec: Spec = field(default_factory=lambda: Spec("leads", "xlsx"))

    @property
    def exports(self):
        return Exports(self.jobs, self.objects, self.clock)

    def workers(self, name="w", **pace):
        return Workers(
            self.jobs,
            self.rows,
            self.encoder,
            self.objects,
            self.seals,
            self.clock,
            name=name,
            limits=self.limits,
            pace=Pace(concurrency_max=1, **pace),
        )

    def due_in(self, job_id):
        return self.jobs.due[job_id] - self.clock.now()

    @property
    def lease(self):
        return timedelta(seconds=Pace().lease_s)


@pytest.fixture
def desk():
    return Desk()
