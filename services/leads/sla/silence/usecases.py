"""Telling that a lead lies there: every one, whoever has it, whatever is switched off (117)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.leads.organisation.domain import Directory
from services.leads.sla.escalation import who_acts
from services.leads.sla.silence.domain import Silence, SilenceLimits, next_counted_from


@dataclass(frozen=True, slots=True)
class ToldSilence:
    """One alarm: an event, and when the next one is due."""

    silence: Silence
    supervisor_id: str
    counted_from: datetime


class SilenceStore(Protocol):
    """What telling of silences needs of one open transaction: no rules, no limits, no calendars."""

    async def take_silent(self, counted_until: datetime, limit: int) -> list[Silence]:
        """Silences counted from `counted_until` or before, the longest first; those of another worker are left to it."""
        ...

    async def directory(self) -> Directory: ...

    async def write(self, told: Sequence[ToldSilence], now: datetime) -> None: ...


async def tell_silences(
    begin: Callable[[], AbstractAsyncContextManager[SilenceStore]],
    *,
    limits: SilenceLimits,
    now: datetime,
    limit: int,
) -> list[datetime]:
    """Tells of at most `limit` silent leads in one transaction; returns when each was due, the longest ago first."""
    async with begin() as store:
        silences = await store.take_silent(now - limits.after, limit)
        if not silences:
            return []
        directory = await store.directory()
        told = [
            ToldSilence(silence, who_acts(directory, silence.owner_id or ""), next_counted_from(silence, limits, now))
            for silence in silences
        ]
        await store.write(told, now)
    return [silence.counted_from + limits.after for silence in silences]
