"""People and teams in PostgreSQL."""

from collections.abc import Sequence

from asyncpg import Record

from breakwater.chassis.database import Reader
from services.leads.organisation.domain import Directory, Person, Team

_PEOPLE = """
    SELECT id, name, email, team_id, supervisor_id, regions, city_codes, skills, active, may_follow_up, on_duty,
           absent_until, open_leads_max, weight
    FROM people ORDER BY id
"""


async def read_directory(reader: Reader) -> Directory:
    """Everybody."""
    teams = await reader.fetch(
        "SELECT id, name, supervisor_id, time_zone, work_start, work_end, lunch_start, lunch_end FROM teams ORDER BY id"
    )
    people = await reader.fetch(_PEOPLE)
    return Directory.of(_people_from(people), (Team(**dict(row)) for row in teams))


def _people_from(rows: Sequence[Record]) -> list[Person]:
    return [
        Person(
            **{name: value for name, value in row.items() if name not in {"regions", "city_codes", "skills"}},
            regions=tuple(row["regions"]),
            city_codes=tuple(row["city_codes"]),
            skills=tuple(row["skills"]),
        )
        for row in rows
    ]
