"""People and teams in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from asyncpg import Record

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Reader, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import PersonChanged
from services.leads.organisation.domain import Directory, Person, Team
from services.leads.rows import jsonb

SNAPSHOT_TOPIC = "snapshot"
"""Announced when organisation or rules have changed (`Database.listen`)."""

_COLUMNS = (
    *("id", "name", "email", "team_id", "supervisor_id", "regions", "city_codes", "skills", "active", "may_follow_up"),
    *("on_duty", "absent_until", "open_leads_max", "weight", "rank"),
)
_LISTS = frozenset({"regions", "city_codes", "skills"})


class PostgresDirectoryReader:
    """The `DirectoryReader` of one connection."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database) -> AsyncIterator["PostgresDirectoryReader"]:
        async with database.read() as reader:
            yield cls(reader)

    async def directory(self) -> Directory:
        return await read_directory(self._reader)

    async def open_leads(self) -> dict[str, int]:
        rows = await self._reader.fetch("SELECT person_id, open_leads FROM workloads")
        return {row["person_id"]: row["open_leads"] for row in rows}


async def read_directory(reader: Reader) -> Directory:
    """Everybody."""
    teams = await reader.fetch(
        "SELECT id, name, supervisor_id, time_zone, work_start, work_end, lunch_start, lunch_end FROM teams ORDER BY id"
    )
    people = await reader.fetch(f"SELECT {', '.join(_COLUMNS)} FROM people ORDER BY id")  # noqa: S608 - constants
    return Directory.of((_person_from(row) for row in people), (Team(**dict(row)) for row in teams))


async def upsert_people(tx: Transaction, people: Sequence[Person]) -> None:
    """Adds or changes checked people, each once; what really changes is told and in force with the next transaction.

    A team nobody knows is made, with its id as its name and the calendar every team starts with.
    """
    if not people:
        return
    changed = await tx.fetch(
        """
        WITH new_teams AS (
            INSERT INTO teams (id, name) SELECT DISTINCT x->>3, x->>3 FROM jsonb_array_elements($1::jsonb) AS x
            ON CONFLICT (id) DO NOTHING
        ), changed AS (
            INSERT INTO people AS p (id, name, email, team_id, supervisor_id, regions, city_codes, skills, active,
                                     may_follow_up, on_duty, absent_until, open_leads_max, weight, rank, sequence)
            SELECT x->>0, x->>1, x->>2, x->>3, x->>4, ARRAY(SELECT jsonb_array_elements_text(x->5)),
                   ARRAY(SELECT jsonb_array_elements_text(x->6)), ARRAY(SELECT jsonb_array_elements_text(x->7)),
                   (x->>8)::boolean, (x->>9)::boolean, (x->>10)::boolean, (x->>11)::timestamptz, (x->>12)::integer,
                   (x->>13)::integer, (x->>14)::integer, 1
            FROM jsonb_array_elements($1::jsonb) AS x ORDER BY x->>0
            ON CONFLICT (id) DO UPDATE SET
                name = excluded.name, email = excluded.email, team_id = excluded.team_id,
                supervisor_id = excluded.supervisor_id, regions = excluded.regions, city_codes = excluded.city_codes,
                skills = excluded.skills, active = excluded.active, may_follow_up = excluded.may_follow_up,
                on_duty = excluded.on_duty, absent_until = excluded.absent_until,
                open_leads_max = excluded.open_leads_max, weight = excluded.weight, rank = excluded.rank,
                sequence = p.sequence + 1, updated_at = now()
            WHERE (p.name, p.email, p.team_id, p.supervisor_id, p.regions, p.city_codes, p.skills, p.active,
                   p.may_follow_up, p.on_duty, p.absent_until, p.open_leads_max, p.weight, p.rank)
                  IS DISTINCT FROM
                  (excluded.name, excluded.email, excluded.team_id, excluded.supervisor_id, excluded.regions,
                   excluded.city_codes, excluded.skills, excluded.active, excluded.may_follow_up, excluded.on_duty,
                   excluded.absent_until, excluded.open_leads_max, excluded.weight, excluded.rank)
            RETURNING id, sequence
        ), new_workloads AS (
            INSERT INTO workloads (person_id) SELECT id FROM changed ON CONFLICT (person_id) DO NOTHING
        )
        SELECT id, sequence FROM changed
        """,
        jsonb(_row(person) for person in people),
    )
    if not changed:
        return
    await move_version(tx)
    sequences = {row["id"]: row["sequence"] for row in changed}
    await outbox.add(tx, [_changed(person, sequences[person.id]) for person in people if person.id in sequences])


async def move_version(tx: Transaction) -> None:
    """Makes every process read organisation and rules again, once `tx` is committed."""
    await tx.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    tx.announce(SNAPSHOT_TOPIC)


def _person_from(row: Record) -> Person:
    values: dict[str, Any] = {name: tuple(value) if name in _LISTS else value for name, value in row.items()}
    return Person(**values)


def _row(person: Person) -> tuple[Any, ...]:
    return tuple(getattr(person, name) for name in _COLUMNS)


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
