"""The timeline in memory and, behind a bounded buffer, in PostgreSQL: the page never waits for a database."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.ids import uuid7
from breakwater.chassis.logging import get_logger
from services.gateway.ops.timeline.domain import GENESIS, Entry, Examination, Kind, Link, Verdict, hash_of

ENTRIES_MAX = 1_000
UNSAVED_MAX = 10_000
BATCH_MAX = 200
RETRY_S = 1.0

# Two ops processes may write for a moment during a restart: one link after the other.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('breakwater.ops.timeline', 0))"
_HEAD = "SELECT seq, sha256 FROM timeline WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
_KNOWN = "SELECT id FROM timeline WHERE id = ANY($1::uuid[])"
_INSERT = """
INSERT INTO timeline (id, at, kind, text, dependency, actor, seq, sha256)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bytea[])
"""
_CHAIN = "SELECT id, at, kind, text, dependency, actor, seq, sha256 FROM timeline WHERE seq IS NOT NULL ORDER BY seq"
_UNCHAINED = """
SELECT count(*) FROM timeline
WHERE seq IS NULL AND id > (SELECT id FROM timeline WHERE seq IS NOT NULL ORDER BY seq LIMIT 1)
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
        self._saved_seq = 0
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

    async def verify(self) -> Verdict:
        """Goes through everything that is stored. Raises `UnavailableError`."""
        examination, saved_seq = Examination(), self._saved_seq
        async with self._database.snapshot() as tx:
            async for rows in tx.stream(_CHAIN):
                for row in rows:
                    examination.take(Link(row["seq"], _entry(row), row["sha256"]))
            unchained = await tx.fetchval(_UNCHAINED)
        return examination.verdict(unchained=unchained, saved_seq=saved_seq)

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
                self._entries.append(_entry(row))

    async def _save(self) -> None:
        batch = [self._unsaved[index] for index in range(min(BATCH_MAX, len(self._unsaved)))]
        async with self._database.transaction() as tx:
            await tx.execute(_LOCK)
            # A commit whose answer was lost is tried again: what is there already is not chained twice.
            known = {str(row["id"]) for row in await tx.fetch(_KNOWN, [UUID(entry.id) for entry in batch])}
            head = await tx.fetchrow(_HEAD)
            seq, sha256 = (head["seq"], head["sha256"]) if head else (0, GENESIS)
            links = []
            for entry in (each for each in batch if each.id not in known):
                seq, sha256 = seq + 1, hash_of(sha256, seq + 1, entry)
                links.append(Link(seq, entry, sha256))
            await tx.execute(
                _INSERT,
                [UUID(link.entry.id) for link in links],
                [link.entry.at for link in links],
                [str(link.entry.kind) for link in links],
                [link.entry.text for link in links],
                [link.entry.dependency for link in links],
                [link.entry.actor for link in links],
                [link.seq for link in links],
                [link.sha256 for link in links],
            )
        self._saved_seq = seq
        # In the logs, which are kept elsewhere: a chain that was cut short or made anew does not fit it.
        _log.info("timeline_saved", seq=seq, sha256=sha256.hex())
        for _ in batch:
            self._unsaved.popleft()


def _entry(row: Any) -> Entry:
    return Entry(str(row["id"]), row["at"], row["kind"], row["text"], row["dependency"], row["actor"])
