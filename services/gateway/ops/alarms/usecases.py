"""Telling on-call: through notify, and at once by the robot of their group where notify does not take it."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, UnavailableError
from services.gateway.ops.alarms.domain import Alarm

LOOK_S = 0.25
"""How often a look is taken at what is due."""
CLAIM_LOOK_S = 0.5
"""How often it is asked whether another process has told it."""
CLAIM_S_MAX = 1.0
"""No answer about a claim in so long is none."""

T = TypeVar("T")


class Way(Protocol):
    """One way to people. The same alarm may be told it twice; what can, tells it them once, by its key."""

    name: str

    async def tell(self, alarm: Alarm) -> None:
        """Told. Raises `BreakwaterError`; takes bounded time."""
        ...


class Claim(StrEnum):
    """Who tells an alarm."""

    OURS = "ours"
    THEIRS = "theirs"
    """Another process is at it."""
    TOLD = "told"


class Claims(Protocol):
    """What all ops processes share; raises `UnavailableError` while it is out."""

    async def take(self, key: str) -> Claim:
        """Claims the telling, unless somebody else has; a claim of which nothing more is heard is ended in bounded time."""
        ...

    async def told(self, key: str) -> None:
        """Nobody else needs to."""
        ...

    async def release(self, key: str) -> None:
        """It could not be told."""
        ...


class Once:
    """A way that keeps no keys itself, which tells each alarm by one process of several.

    While nobody can be asked which one, every process tells it: twice is better than not at all.
    """

    def __init__(self, way: Way, claims: Claims, clock: Clock) -> None:
        self.name = way.name
        self._way = way
        self._claims = claims
        self._clock = clock

    async def tell(self, alarm: Alarm) -> None:
        """Told, by this process or another."""
        key = f"{self.name}:{alarm.key}"
        claim = await self._take(key)
        while claim is Claim.THEIRS:
            await self._clock.sleep(CLAIM_LOOK_S)
            claim = await self._take(key)
        if claim is Claim.TOLD:
            return
        try:
            await self._way.tell(alarm)
        except BreakwaterError:
            await self._try(self._claims.release(key))
            raise
        await self._try(self._claims.told(key))

    async def _take(self, key: str) -> Claim:
        return await self._try(self._claims.take(key)) or Claim.OURS

    async def _try(self, asking: Awaitable[T]) -> T | None:
        """None where there is no answer in time."""
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(CLAIM_S_MAX):
                return await asking
        return None


class Record(Protocol):
    """The audit."""

    def alarm_told(self, alarm: Alarm, way: str, because: str) -> None:
        """Somebody knows. `because` says why it was not the first way; empty where it was."""
        ...

    def alarm_untold(self, alarm: Alarm, problem: str, *, final: bool) -> None:
        """Nobody knows yet, or, where `final`, nobody will."""
        ...


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """How much waits, and for how long it is tried."""

    pending_max: int = 200
    retry_s: float = 5.0
    retry_s_max: float = 60.0
    give_up_s: float = 3_600.0


@dataclass(slots=True)
class _Pending:
    alarm: Alarm
    due_s: float
    ends_s: float
    tries: int = 0
    told: bool = False
    """By the second way, so that only the inboxes are left."""


@dataclass(slots=True)
class Alarms:
    """The verbs. What was told by the second way is put into the inboxes as soon as notify takes it."""

    inboxes: Way
    robot: Way | None
    record: Record
    clock: Clock
    limits: AlarmLimits = field(default_factory=AlarmLimits)
    _pending: dict[str, _Pending] = field(default_factory=dict)

    def announce(self, alarm: Alarm) -> None:
        """Takes it up; returns at once. Where too many wait, the oldest one is given up, on the record."""
        if alarm.key in self._pending:
            return
        while len(self._pending) >= self.limits.pending_max:
            oldest = self._pending.pop(next(iter(self._pending)))
            self._give_up(oldest, "too many alarms wait")
        now_s = self.clock.monotonic()
        self._pending[alarm.key] = _Pending(alarm, now_s, now_s + self.limits.give_up_s)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.settle()
            await self.clock.sleep(LOOK_S)

    async def settle(self) -> None:
        """Tries what is due, all of it side by side."""
        now_s = self.clock.monotonic()
        due = [each for each in self._pending.values() if each.due_s <= now_s]
        await asyncio.gather(*(self._try(each) for each in due))

    async def _try(self, pending: _Pending) -> None:
        alarm = pending.alarm
        problem = await self._told_by(self.inboxes, alarm)
        if self.robot is not None and not pending.told and (problem or alarm.concerns_inboxes):
            second = await self._told_by(self.robot, alarm)
            if not second:
                pending.told = True
                self.record.alarm_told(alarm, self.robot.name, problem or f"inboxes stand on {alarm.dependency}")
            elif problem:
                problem = f"{problem}; {second}"
        if not problem:
            self._pending.pop(alarm.key, None)
            if not pending.told:
                self.record.alarm_told(alarm, self.inboxes.name, "")
            return
        if not pending.told and pending.tries == 0:
            self.record.alarm_untold(alarm, problem, final=False)
        self._put_off(pending, problem)

    async def _told_by(self, way: Way, alarm: Alarm) -> str:
        """Nothing where it was told, else what went wrong."""
        try:
            await way.tell(alarm)
        except BreakwaterError as error:
            return f"{way.name}: {error.code}"
        return ""

    def _put_off(self, pending: _Pending, problem: str) -> None:
        now_s = self.clock.monotonic()
        if now_s >= pending.ends_s:
            self._pending.pop(pending.alarm.key, None)
            self._give_up(pending, problem)
            return
        pending.due_s = now_s + min(self.limits.retry_s_max, self.limits.retry_s * 2.0 ** min(pending.tries, 10))
        pending.tries += 1

    def _give_up(self, pending: _Pending, problem: str) -> None:
        if not pending.told:
            self.record.alarm_untold(pending.alarm, problem, final=True)
