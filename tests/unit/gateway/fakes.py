"""Fakes at the gateway's own ports: channels that answer by RPC name, exports kept in memory."""

import inspect
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import BreakwaterError, IdempotencyMismatchError, InternalError
from breakwater.chassis.sealing import Seals
from services.gateway.exports.domain import (
    Degradation,
    Engine,
    Export,
    ExportState,
    Fail,
    File,
    Job,
    LookAgain,
    Made,
    Patience,
)
from services.gateway.exports.usecases import Exports, Key


class _Grpc:
    """In place of a gRPC channel: a stub's method is the name of its RPC."""

    def __getattr__(self, kind: str) -> Any:
        return lambda path, **_: path.rsplit("/", 1)[-1]


class FakeChannel:
    """In place of a guarded channel. `answers[RPC]` is a message, an error, or a function of the request."""

    def __init__(self, dependency: str) -> None:
        self.dependency = dependency
        self.grpc = _Grpc()
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []

    def requests(self, rpc: str) -> list[Any]:
        return [request for name, request in self.asked if name == rpc]

    async def unary(self, method: str, request: Any, *, fallback: Any = None, **_: Any) -> Any:
        self.asked.append((method, request))
        try:
            return await self._answer(method, request)
        except BreakwaterError as error:
            if fallback is None or error.status not in {500, 503}:
                raise
            return await fallback(error)

    async def upload(self, method: str, requests: AsyncIterator[Any], **_: Any) -> Any:
        sent = [request async for request in requests]
        self.asked.append((method, sent))
        return await self._answer(method, sent)

    async def _answer(self, method: str, request: Any) -> Any:
        answer = self.answers.get(method, InternalError(f"the test answers no {method}"))
        if callable(answer):
            answer = answer(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeExports:
    """Exports in memory, and the content of full files."""

    keep = timedelta(days=1)

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.rows: dict[str, Export] = {}
        self.keys: dict[str, tuple[bytes, str]] = {}
        self.bodies: dict[str, bytes] = {}
        self.jobs: list[Job | BreakwaterError] = []
        self.made: File | BreakwaterError = File(2, 10, "ab")
        self.as_of: datetime | None = None
        self.asked: list[str] = []
        self.out: BreakwaterError | None = None
        self.seals = Seals(bytes(range(32)))
        self.use_cases = Exports(self, self, self, clock, Patience(), self.seals)

    # The store.

    async def create(self, export: Export, key: Key) -> tuple[Export, bool]:
        if key.key and key.key in self.keys:
            known_hmac, known = self.keys[key.key]
            if known_hmac != key.body_hmac:
                raise IdempotencyMismatchError("another body")
            return self.rows[known], True
        self.rows[export.id] = export
        self.keys[key.key] = (key.body_hmac, export.id)
        return export, False

    async def get(self, export_id: str) -> Export | None:
        return self.rows.get(export_id)

    async def take_due(self, now: datetime, lease: timedelta, exports_max: int) -> Sequence[Export]:
        return list(self.rows.values())[:exports_max]

    async def look_again(self, export: Export, step: LookAgain, now: datetime) -> None:
        self.asked.append(f"look again in {(step.at - now).total_seconds():g} s")
        if step.job is not None:
            self.rows[export.id] = replace(export, state=ExportState.RUNNING, rows_done=step.job.rows_done)

    async def complete(self, export: Export, file: File, now: datetime) -> None:
        self.rows[export.id] = replace(export, state=ExportState.COMPLETED, engine=Engine.FILES, file=file)

    async def degrade(
        self, export: Export, file: File, degradation: Degradation, now: datetime, follow_up_at: datetime
    ) -> None:
        self.rows[export.id] = replace(
            export,
            state=ExportState.COMPLETED,
            engine=Engine.LOCAL,
            file=file,
            degradation=degradation,
            follow_up=f"{export.id}-full",
        )

    async def stand_in(
        self, export: Export, file: File, degradation: Degradation, now: datetime, follow_up_at: datetime
    ) -> None:
        await self.degrade(export, file, degradation, now, follow_up_at)

    async def cancel(self, export: Export, now: datetime) -> None:
        self.rows[export.id] = replace(export, state=ExportState.CANCELLED)

    async def fail(self, export: Export, step: Fail, now: datetime) -> None:
        self.rows[export.id] = replace(export, state=ExportState.FAILED, failure_code=step.code, failure=step.reason)

    # files.

    async def claim(self, export: Export) -> Job:
        self.asked.append("claim")
        return self._job()

    async def look(self, export: Export) -> Job:
        self.asked.append("look")
        return self._job()

    async def content(self, job_id: str, offset: int, length: int) -> AsyncIterator[bytes]:
        if self.out is not None:
            raise self.out
        body = self.bodies[job_id][offset : offset + length]
        for start in range(0, len(body), 4):
            yield body[start : start + 4]

    # The local engine.

    async def make(self, export: Export, reason: str, now: datetime) -> Made:
        self.asked.append(f"make: {reason}")
        if isinstance(self.made, BreakwaterError):
            raise self.made
        return Made(self.made, ("need",), self.as_of)

    def _job(self) -> Job:
        job = self.jobs.pop(0)
        if isinstance(job, BreakwaterError):
            raise job
        return job
