"""Verbs of exports: request one, advance it by one step, finish it when files says so, read it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, ConflictError, NotFoundError
from breakwater.chassis.identity import Actor
from breakwater.chassis.ids import uuid7
from services.gateway.exports import domain
from services.gateway.exports.domain import (
    Complete,
    Degradation,
    Export,
    ExportState,
    Fail,
    FallBack,
    File,
    Job,
    LookAgain,
    Made,
    Patience,
    Spec,
    Step,
)


@dataclass(frozen=True, slots=True)
class Key:
    """The requester's Idempotency-Key ("" without one) and the HMAC of what was asked."""

    key: str
    body_hmac: bytes


class Store(Protocol):
    """Each method is one transaction: rows, and the events they cause."""

    async def create(self, export: Export, key: Key) -> tuple[Export, bool]:
        """The new export, or the first one of this key and True."""
        ...

    async def get(self, export_id: str) -> Export | None:
        """An export."""
        ...

    async def take_due(self, now: datetime, lease: timedelta, exports_max: int) -> Sequence[Export]:
        """Takes up what is due and nobody holds."""
        ...

    async def look_again(self, export: Export, step: LookAgain, now: datetime) -> None:
        """Puts it down until then."""
        ...

    async def complete(self, export: Export, file: File, now: datetime) -> None:
        """The full file is there, which supersedes the degraded one when this is a follow-up."""
        ...

    async def degrade(
        self, export: Export, file: File, degradation: Degradation, now: datetime, follow_up_at: datetime
    ) -> None:
        """The lesser file is there; a follow-up waits for the full one and is looked at from `follow_up_at` on."""
        ...

    async def stand_in(
        self, export: Export, file: File, degradation: Degradation, now: datetime, follow_up_at: datetime
    ) -> None:
        """As `degrade`, for an export that is completed already."""
        ...

    async def cancel(self, export: Export, now: datetime) -> None:
        """It is not wanted any more, unless it ended before."""
        ...

    async def fail(self, export: Export, step: Fail, now: datetime) -> None:
        """It will not be made."""
        ...


class Files(Protocol):
    """The files service. Every method raises `BreakwaterError`."""

    async def claim(self, export: Export) -> Job:
        """Has files take the job, if it has not yet; the same job is never made twice."""
        ...

    async def look(self, export: Export) -> Job:
        """How far the job is. Raises `NotFoundError` when files has not heard of it."""
        ...


class LocalEngine(Protocol):
    """Makes base fields by itself. Raises `BreakwaterError`."""

    async def make(self, export: Export, reason: str, now: datetime) -> Made:
        """The file, kept under the export's id."""
        ...


class Seals(Protocol):
    """What seals a password for one job."""

    def seal(self, secret: str, bound_to: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Exports:
    """The use cases over their ports."""

    store: Store
    files: Files
    local: LocalEngine
    clock: Clock
    patience: Patience
    seals: Seals
    _standing_in: dict[str, asyncio.Task[Export]] = field(default_factory=dict, init=False)

    async def request(self, requester: Actor, spec: Spec, key: Key, password: str | None = None) -> tuple[Export, bool]:
        """Stores the request and announces it to files in one transaction; True marks a replay.

        The password of an encrypted file goes no further than this: from here on it is sealed.
        """
        export_id = uuid7()
        sealed = None if password is None else self.seals.seal(password, export_id)
        now = self.clock.now()
        export = Export(export_id, export_id, requester, spec, ExportState.QUEUED, now, sealed_password=sealed)
        return await self.store.create(export, key)

    async def read(self, actor: Actor, export_id: str) -> Export:
        """An export the actor may see. Raises `NotFoundError`."""
        export = await self.store.get(export_id)
        if export is None or not domain.may_read(export, actor):
            raise NotFoundError("there is no such export")
        return export

    async def read_finished(self, actor: Actor, export_id: str) -> Export:
        """The same with its file. Raises `NotFoundError`, `ConflictError` while there is no file."""
        export = await self.read(actor, export_id)
        if export.state is ExportState.FAILED:
            raise ConflictError("this export failed", code=export.failure_code or "export_failed")
        if export.state is ExportState.CANCELLED:
            raise ConflictError("this export was cancelled", code="export_cancelled")
        if export.file is None:
            raise ConflictError("the file is still being made", code="export_not_ready", retry_after_s=1.0)
        return export

    async def cancel(self, actor: Actor, export_id: str) -> Export:
        """The export, which nobody makes any more. Raises `NotFoundError`, `ConflictError` for one that has ended."""
        export = await self.read(actor, export_id)
        if export.is_open:
            await self.store.cancel(export, self.clock.now())
            export = await self.read(actor, export_id)
        if export.state is not ExportState.CANCELLED:
            raise ConflictError("this export has ended", code="export_ended")
        return export

    async def stand_in(self, export: Export, failure: BreakwaterError) -> Export:
        """A finished export whose full file cannot be had now, with the lesser one in its place; made once for all who ask.

        Raises `failure` where there is no such thing: the fault is the caller's, the local engine fails as well, the export
        is a follow-up, whose lesser file is there already, or it is encrypted, and its password was erased with its end.
        """
        under_way = self._standing_in.get(export.id)
        if under_way is None:
            under_way = asyncio.create_task(self._stand_in(export, failure))
            self._standing_in[export.id] = under_way
            under_way.add_done_callback(lambda _: self._standing_in.pop(export.id))
        # Whoever goes away takes nothing from those who wait for the same file.
        return await asyncio.shield(under_way)

    async def _stand_in(self, export: Export, failure: BreakwaterError) -> Export:
        now = self.clock.now()
        step = domain.after_failure(export, failure, now, self.patience)
        if not isinstance(step, FallBack) or export.spec.encrypted:
            raise failure
        try:
            made = await self.local.make(export, step.reason, now)
        except BreakwaterError as error:
            raise failure from error
        degradation = Degradation("files", step.reason, made.missing, made.as_of)
        await self.store.stand_in(export, made.file, degradation, self.clock.now(), self._follow_up_at())
        return await self.store.get(export.id) or export

    async def advance(self, export: Export) -> None:
        """One step of an export that was taken up: claim or look, decide, write what came of it."""
        step = await self._next_step(export)
        if isinstance(step, FallBack):
            try:
                made = await self.local.make(export, step.reason, self.clock.now())
            except BreakwaterError as error:
                step = domain.after_local_failure(export, error, self.clock.now(), self.patience)
            else:
                await self._degrade(export, made.file, Degradation("files", step.reason, made.missing, made.as_of))
                return
        await self._write(export, step)

    async def _next_step(self, export: Export) -> Step:
        try:
            # A job in progress is looked at; one that files lost, or never got, is handed over again.
            if export.state is ExportState.RUNNING:
                try:
                    job = await self.files.look(export)
                except NotFoundError:
                    job = await self.files.claim(export)
            else:
                job = await self.files.claim(export)
        except BreakwaterError as error:
            return domain.after_failure(export, error, self.clock.now(), self.patience)
        return domain.after_seeing(export, job, self.clock.now(), self.patience)

    async def _degrade(self, export: Export, file: File, degradation: Degradation) -> None:
        await self.store.degrade(export, file, degradation, self.clock.now(), self._follow_up_at())

    def _follow_up_at(self) -> datetime:
        return self.clock.now() + timedelta(seconds=self.patience.follow_up_check_s)

    async def _write(self, export: Export, step: Complete | Fail | LookAgain) -> None:
        now = self.clock.now()
        match step:
            case Complete(file):
                await self.store.complete(export, file, now)
            case Fail():
                await self.store.fail(export, step, now)
            case LookAgain():
                await self.store.look_again(export, step, now)
