"""People and teams in PostgreSQL: reading the directory, and writing people with their events."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import orjson
from asyncpg import Record

from breakwater.chassis import idempotency, outbox
from breakwater.chassis.database import Database, Reader, Transaction
from breakwater.chassis.idempotency import KeyedRequest
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import PersonChanged
from services.leads.idempotence import Keyed
from services.leads.organisation.domain import Demands, Directory, Leave, Person, Taken, Team
from services.leads.organisation.duty import PublicDays, Shift
from services.leads.organisation.findings import Missing, Routed
from services.leads.organisation.usecases import Workload
from services.leads.rows import jsonb

SNAPSHOT_TOPIC = "snapshot"
"""Announced when organisation or rules have changed (`Database.listen`)."""

ReadDirectory = Callable[[Reader], Awaitable[Directory]]
"""The organisation of the newest version the reader sees."""

_COLUMNS = (
    *("id", "name", "email", "team_id", "supervisor_id", "rank", "regions", "city_codes", "skills", "active"),
    *("has_account", "may_follow_up", "on_duty", "duty", "works_holidays", "open_leads_max", "leads_per_day_max"),
    *("leads_per_week_max", "weight"),
)
_LISTS = frozenset({"regions", "city_codes", "skills"})
_CHANGING = _COLUMNS[1:]


class PostgresDirectoryReader:
    """The `DirectoryReader` of one connection. `directory` tells the newest organisation, which a process keeps in memory."""

    def __init__(self, reader: Reader, directory: ReadDirectory) -> None:
        self._reader = reader
        self._directory = directory

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, directory: ReadDirectory) -> AsyncIterator["PostgresDirectoryReader"]:
        async with database.read() as reader:
            yield cls(reader, directory)

    async def directory(self) -> Directory:
        # To read thousands of people for a page of fifty keeps everybody else waiting meanwhile.
        return await self._directory(self._reader)

    async def workloads(self) -> dict[str, Workload]:
        return await read_workloads(self._reader)

    async def missing(self) -> list[Missing]:
        rows = await self._reader.fetch(
            """
            WITH latest AS (
                SELECT DISTINCT ON (m.directory) m.directory, i.created_at
                FROM directory_members m JOIN imports i ON i.id = m.import_id
                WHERE i.state = 'completed' ORDER BY m.directory, i.created_at DESC
            )
            SELECT m.person_id, m.directory
            FROM directory_members m JOIN latest USING (directory) JOIN imports i ON i.id = m.import_id
            WHERE i.created_at < latest.created_at
            """
        )
        return [Missing(row["person_id"], row["directory"]) for row in rows]

    async def routed(self) -> list[Routed]:
        rows = await self._reader.fetch(
            """
            SELECT coalesce(rule->>'title', rule->>'id') AS title, rule->'target'->>'team_id' AS team_id
            FROM routing_rules, jsonb_array_elements(document->'rules') WITH ORDINALITY AS r(rule, place)
            WHERE version = (SELECT max(version) FROM routing_rules) AND rule->'target'->>'team_id' <> ''
            ORDER BY place
            """
        )
        return [Routed(row["title"], row["team_id"]) for row in rows]


class PostgresOrganisationStore:
    """The `OrganisationStore` of one transaction."""

    def __init__(self, tx: Transaction, days: PublicDays) -> None:
        self._tx = tx
        self._days = days

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, days: PublicDays) -> AsyncIterator["PostgresOrganisationStore"]:
        async with database.transaction() as tx:
            yield cls(tx, days)

    async def first_answer(self, request: Keyed) -> bytes | None:
        return await idempotency.replay(self._tx, _keyed(request))

    async def keep_answer(self, request: Keyed, content: bytes) -> None:
        await idempotency.store(self._tx, _keyed(request), content)

    async def lock(self) -> Directory:
        await lock_organisation(self._tx)
        return await read_directory(self._tx, self._days)

    async def workload(self, person_id: str) -> Workload:
        row = await self._tx.fetchrow(f"{_WORKLOADS} WHERE person_id = $1", person_id)
        return _workload(row) if row else Workload()

    async def put_person(self, person: Person) -> None:
        await upsert_people(self._tx, [person])

    async def put_team(self, team: Team) -> None:
        await self._tx.execute(
            """
            INSERT INTO teams (id, name, supervisor_id, time_zone, work_start, work_end, lunch_start, lunch_end, parent_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (id) DO UPDATE SET
                name = excluded.name, supervisor_id = excluded.supervisor_id, time_zone = excluded.time_zone,
                work_start = excluded.work_start, work_end = excluded.work_end, lunch_start = excluded.lunch_start,
                lunch_end = excluded.lunch_end, parent_id = excluded.parent_id
            """,
            *(team.id, team.name, team.supervisor_id, team.time_zone, team.work_start, team.work_end),
            *(team.lunch_start, team.lunch_end, team.parent_id),
        )
        await move_version(self._tx)

    async def add_leave(self, person: Person, leave: Leave, author: str, now: datetime) -> None:
        await self._tx.execute(
            """
            INSERT INTO leaves (id, person_id, starts_at, ends_at, reason, created_by, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            """,
            *(leave.id, person.id, leave.starts_at, leave.ends_at, leave.reason, author, now),
        )
        await self._tell(person)

    async def remove_leave(self, person: Person, leave_id: str) -> None:
        await self._tx.execute("DELETE FROM leaves WHERE id = $1 AND person_id = $2", leave_id, person.id)
        await self._tell(person)

    async def put_demands(self, demands: Demands) -> None:
        await self._tx.execute(
            "UPDATE organisation_settings SET channels_required = $1, on_time_weight = $2",
            sorted(demands.channels_required),
            demands.on_time_weight,
        )
        await move_version(self._tx)

    async def _tell(self, person: Person) -> None:
        """Something of the person has changed that is no column of theirs."""
        sequence = await self._tx.fetchval(
            "UPDATE people SET sequence = sequence + 1, updated_at = now() WHERE id = $1 RETURNING sequence", person.id
        )
        await move_version(self._tx)
        await outbox.add(self._tx, [_changed(person, sequence)])


_WORKLOADS = """
    SELECT w.person_id, w.open_leads, w.taken_on, w.taken_in_day, w.taken_in_week, p.sequence
    FROM workloads w JOIN people p ON p.id = w.person_id
"""


async def read_workloads(reader: Reader) -> dict[str, Workload]:
    """What everybody has on their hands."""
    return {row["person_id"]: _workload(row) for row in await reader.fetch(_WORKLOADS)}


def _workload(row: Record) -> Workload:
    return Workload(
        row["open_leads"], Taken(row["taken_on"], row["taken_in_day"], row["taken_in_week"]), row["sequence"]
    )


def _keyed(request: Keyed) -> KeyedRequest:
    return KeyedRequest(request.actor, request.route, request.key, request.body_hmac)


async def read_directory(reader: Reader, days: PublicDays | None = None) -> Directory:
    """Everybody. Without `days` no day is a holiday, which matters only to who is on duty."""
    teams = await reader.fetch(
        """
        SELECT id, name, supervisor_id, time_zone, work_start, work_end, lunch_start, lunch_end, parent_id
        FROM teams ORDER BY id
        """
    )
    people = await reader.fetch(f"SELECT {', '.join(_COLUMNS)} FROM people ORDER BY id")  # noqa: S608 - constants
    leaves: dict[str, list[Leave]] = {}
    for row in await reader.fetch(
        "SELECT person_id, starts_at, ends_at, id::text, reason FROM leaves ORDER BY starts_at"
    ):
        person_id, *leave = row
        leaves.setdefault(person_id, []).append(Leave(*leave))
    channels: dict[str, set[str]] = {}
    for row in await reader.fetch("SELECT person_id, channel FROM person_channels WHERE bound"):
        channels.setdefault(row["person_id"], set()).add(row["channel"])
    [demands] = await reader.fetch("SELECT channels_required, on_time_weight FROM organisation_settings")
    return Directory.of(
        (_person_from(row, leaves.get(row["id"], ()), channels.get(row["id"], ())) for row in people),
        (Team(**dict(row)) for row in teams),
        channels_required=demands["channels_required"],
        on_time_weight=demands["on_time_weight"],
        days=days,
    )


async def upsert_people(tx: Transaction, people: Sequence[Person]) -> None:
    """Adds or changes checked people, each once; what really changes is told and in force with the next transaction.

    A team nobody knows is made, with its id as its name and the calendar every team starts with. Leave and channels of
    a person are not touched.
    """
    if not people:
        return
    changed = await tx.fetch(_UPSERT, jsonb(_row(person) for person in people))
    if not changed:
        return
    await move_version(tx)
    sequences = {row["id"]: row["sequence"] for row in changed}
    await outbox.add(tx, [_changed(person, sequences[person.id]) for person in people if person.id in sequences])


_UPSERT = f"""
    WITH given AS (
        SELECT * FROM jsonb_populate_recordset(NULL::people, $1::jsonb)
    ), new_teams AS (
        INSERT INTO teams (id, name) SELECT DISTINCT team_id, team_id FROM given ON CONFLICT (id) DO NOTHING
    ), changed AS (
        INSERT INTO people AS p ({", ".join(_COLUMNS)}, sequence)
        SELECT {", ".join(_COLUMNS)}, 1 FROM given ORDER BY id
        ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGING)},
                                       sequence = p.sequence + 1, updated_at = now()
        WHERE ({", ".join(f"p.{name}" for name in _CHANGING)})
              IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _CHANGING)})
        RETURNING id, sequence
    ), new_workloads AS (
        INSERT INTO workloads (person_id) SELECT id FROM changed ON CONFLICT (person_id) DO NOTHING
    )
    SELECT id, sequence FROM changed
"""  # noqa: S608 - constants


async def lock_organisation(tx: Transaction) -> None:
    """Whoever changes the organisation next waits until `tx` ends; routing does not, it reads the row without a lock."""
    await tx.execute("SELECT FROM snapshot_version FOR UPDATE")


async def move_version(tx: Transaction) -> None:
    """Makes every process read organisation and rules again, once `tx` is committed."""
    await tx.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    tx.announce(SNAPSHOT_TOPIC)


def _person_from(row: Record, leave: Iterable[Leave], channels: Iterable[str]) -> Person:
    values: dict[str, Any] = {name: tuple(value) if name in _LISTS else value for name, value in row.items()}
    values["duty"] = tuple(Shift(*shift) for shift in orjson.loads(row["duty"]))
    return Person(**values, leave=tuple(leave), channels=frozenset(channels))


def _row(person: Person) -> Mapping[str, Any]:
    row = {name: getattr(person, name) for name in _COLUMNS}
    row["duty"] = [(shift.weekday, shift.start_min, shift.end_min) for shift in person.duty]
    return row


def _changed(person: Person, sequence: int) -> OutboxEvent:
    event = PersonChanged(
        person_id=person.id,
        name=person.name,
        email=person.email,
        team_id=person.team_id,
        supervisor_id=person.supervisor_id,
        active=person.active,
    )
    return OutboxEvent.of(event, subject_id=person.id, sequence=sequence)
