"""Bindings and preferences in PostgreSQL; a change of a binding and its event are one transaction."""

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Record

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Reader
from breakwater.chassis.outbox import OutboxEvent
from breakwater.notify.v1.events_pb2 import BindingChanged
from services.notify.channels.domain import EMAIL, Binding, Preferences, Profile, fault_of
from services.notify.channels.usecases import Finding
from services.notify.timestamps import timestamp

_PROFILES = """
SELECT asked.person_id, coalesce(r.name, '') AS name, coalesce(r.supervisor_id, '') AS supervisor_id,
       coalesce(r.active, true) AS active, coalesce(r.email, '') AS email,
       p.language, p.channel_order, p.muted, p.quiet_from, p.quiet_to,
       ARRAY(SELECT ARRAY[b.channel, b.robot, b.address] FROM bindings b WHERE b.person_id = asked.person_id) AS bindings
FROM unnest($1::text[]) AS asked (person_id)
LEFT JOIN recipients r USING (person_id) LEFT JOIN preferences p USING (person_id)
"""
_COUNT = """
INSERT INTO preferences (person_id, sequence) VALUES ($1, 1)
ON CONFLICT (person_id) DO UPDATE SET sequence = preferences.sequence + 1 RETURNING sequence
"""
_BIND = """
INSERT INTO bindings (person_id, channel, robot, address, bound_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (person_id, channel) DO UPDATE
SET robot = excluded.robot, address = excluded.address, bound_at = excluded.bound_at
"""
_PREFER = """
INSERT INTO preferences (person_id, language, channel_order, muted, quiet_from, quiet_to) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (person_id) DO UPDATE SET language = excluded.language, channel_order = excluded.channel_order,
    muted = excluded.muted, quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to
"""
_SEES = """
SELECT EXISTS (SELECT FROM recipients mate WHERE mate.person_id = $2 AND (mate.supervisor_id = $1
    OR mate.team_id = (SELECT me.team_id FROM recipients me WHERE me.person_id = $1 AND me.team_id <> '')))
"""
_FINDINGS = """
SELECT 'unbound' AS kind, r.person_id AS subject, r.name AS detail FROM recipients r
WHERE r.active AND r.person_id > $1
  AND NOT EXISTS (SELECT FROM bindings b WHERE b.person_id = r.person_id AND b.channel <> 'email')
ORDER BY r.person_id LIMIT $2
"""
_BROKEN = "SELECT 'robot' AS kind, robot AS subject, problem AS detail FROM robots WHERE problem <> '' ORDER BY robot"


async def profiles(reader: Reader, person_ids: Sequence[str]) -> dict[str, Profile]:
    """Each person; one who is not known has no channel."""
    return {row["person_id"]: _profile(row) for row in await reader.fetch(_PROFILES, list(dict.fromkeys(person_ids)))}


class ChannelStore:
    """The bindings for requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def profile(self, person_id: str) -> Profile:
        async with self._database.read() as reader:
            return (await profiles(reader, [person_id]))[person_id]

    async def is_mate(self, person_id: str, mate_id: str) -> bool:
        """Whether both are of one team, or the first supervises the second."""
        async with self._database.read() as reader:
            return bool(await reader.fetchval(_SEES, person_id, mate_id))

    async def bind(self, person_id: str, binding: Binding, now: datetime) -> None:
        async with self._database.transaction() as tx:
            sequence = await tx.fetchval(_COUNT, person_id)
            await tx.execute(_BIND, person_id, binding.channel, binding.robot, binding.address, now)
            await outbox.add(tx, [_changed(person_id, binding.channel, sequence, now, bound=True)])

    async def unbind(self, person_id: str, channel: str, now: datetime) -> bool:
        """False where it was not bound."""
        async with self._database.transaction() as tx:
            sequence = await tx.fetchval(_COUNT, person_id)
            sql = "DELETE FROM bindings WHERE person_id = $1 AND channel = $2"
            if await tx.execute(sql, person_id, channel) == "DELETE 0":
                return False
            await outbox.add(tx, [_changed(person_id, channel, sequence, now, bound=False)])
            return True

    async def prefer(self, person_id: str, wish: Preferences) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(
                _PREFER,
                person_id,
                wish.language,
                list(wish.order),
                sorted(wish.muted),
                wish.quiet_from,
                wish.quiet_to,
            )

    async def findings(self, after: str, limit: int) -> list[Finding]:
        """Broken robots on the first page, then people without a robot's binding, by id."""
        async with self._database.read() as reader:
            rows = [] if after else await reader.fetch(_BROKEN)
            rows += await reader.fetch(_FINDINGS, after, limit)
        return [Finding(**dict(row)) for row in rows]


def _profile(row: Record) -> Profile:
    bindings = {channel: Binding(channel, address, robot) for channel, robot, address in row["bindings"]}
    if not fault_of(EMAIL, row["email"]):
        bindings.setdefault(EMAIL, Binding(EMAIL, row["email"], by_directory=True))
    said = Preferences()
    if row["language"] is not None:
        said = Preferences(
            row["language"],
            tuple(row["channel_order"]),
            frozenset(row["muted"]),
            row["quiet_from"],
            row["quiet_to"],
        )
    return Profile(row["person_id"], row["name"], row["supervisor_id"], row["active"], bindings, said)


def _changed(person_id: str, channel: str, sequence: int, now: datetime, *, bound: bool) -> OutboxEvent:
    event = BindingChanged(person_id=person_id, channel=channel, bound=bound, changed_at=timestamp(now))
    return OutboxEvent.of(event, subject_id=person_id, sequence=sequence, occurred_at=now)
