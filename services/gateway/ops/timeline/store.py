"""The timeline in memory and, behind a bounded buffer, in PostgreSQL: the page never waits for a database."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.ids import uuid7
from breakwater.chassis.logging import get_logger
from services.gateway.ops.timeline.domain import Entry, Kind

ENTRIES_MAX = 1_000
UNSAVED_MAX = 10_000
BATCH_MAX = 200
RETRY_S = 1.0

_INSERT = """
INSERT INTO timeline (id, at, kind, text, dependency, actor)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[])
ON CONFLICT (id) DO NOTHING
"""
_LATEST = "SELECT id, at, kind, text, dependency, actor FROM timeline ORDER BY id DESC LIMIT $1"

_log = get_logger(__name__)


class Timeline:
    """The newest entries, newest first; `run` saves them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=ENTRIES_MAX)
        self._unsaved: deque[Entry] = deque(maxlen=UNSAVED_MAX)
        self._woken = asyncio.Event()
        self._listeners: list[Callable[[Entry], None]] = []

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Calls `listener` with each new entry."""
        self._listeners.append(listener)

    def add(self, kind: Kind, text: str, dependency: str, *, actor: str = "", at: datetime | None = None) -> Entry:
        """Adds an entry; it is saved as soon as PostgreSQL takes it."""
        entry = Entry(uuid7(), at or self._clock.now(), kind, text, dependency, actor)
        self._entries.appendleft(entry)
        if len(self._unsaved) == UNSAVED_MAX:
            _log.error("timeline_entry_dropped", unsaved_max=UNSAVED_MAX)
        self._unsaved.append(entry)
        self._woken.set()
        for listener in self._listeners:
            listener(entry)
        return entry

    def entries(self, count_max: int) -> tuple[Entry, ...]:
        """The newest, newest first."""
        return tuple(self._entries)[:count_max]

    async def run(self) -> None:
        """Loads what was saved, then saves what is added, for as long as it is awaited."""
        await self._until_done(self._load)
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._unsaved:
                await self._until_done(self._save)

    async def _until_done(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except UnavailableError:
                await self._clock.sleep(RETRY_S)
            else:
                return

    async def _load(self) -> None:
        async with self._database.read() as reader:
            rows = await reader.fetch(_LATEST, ENTRIES_MAX)
        known = {entry.id for entry in self._entries}
        for row in rows:
            if str(row["id"]) not in known and len(self._entries) < ENTRIES_MAX:
                kind = Kind(row["kind"])
                entry = Entry(str(row["id"]), row["at"], kind, row["text"], row["dependency"], row["actor"])
                self._entries.append(entry)

    async def _save(self) -> None:
        batch = [self._unsaved[index] for index in range(min(BATCH_MAX, len(self._unsaved)))]
        async with self._database.transaction() as tx:
            await tx.execute(
                _INSERT,
                [UUID(entry.id) for entry in batch],
                [entry.at for entry in batch],
                [entry.kind.value for entry in batch],
                [entry.text for entry in batch],
                [entry.dependency for entry in batch],
                [entry.actor for entry in batch],
            )
        for _ in batch:
            self._unsaved.popleft()
