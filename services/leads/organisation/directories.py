"""What an import of a directory leaves in PostgreSQL beside its people: teams, their heads, who was in the file."""

from collections.abc import Sequence

from breakwater.chassis.database import Transaction
from services.leads.organisation.departments import Department, Head
from services.leads.organisation.store import move_version
from services.leads.rows import jsonb


async def place_departments(tx: Transaction, departments: Sequence[Department]) -> None:
    """Adds teams or moves them; the calendar and supervisor of one that is there stay."""
    changed = await tx.fetchval(
        """
        WITH placed AS (
            INSERT INTO teams AS t (id, name, parent_id)
            SELECT x->>0, x->>1, x->>2 FROM jsonb_array_elements($1::jsonb) AS x ORDER BY x->>0
            ON CONFLICT (id) DO UPDATE SET name = excluded.name, parent_id = excluded.parent_id
            WHERE (t.name, t.parent_id) IS DISTINCT FROM (excluded.name, excluded.parent_id)
            RETURNING 1
        )
        SELECT count(*) FROM placed
        """,
        jsonb((each.id, each.name, each.parent_id) for each in departments),
    )
    if changed:
        await move_version(tx)


async def name_heads(tx: Transaction, heads: Sequence[Head], import_id: str) -> None:
    """Makes heads supervisors of their teams. The first of one import stands; an import overrules whoever was before.

    Somebody the file says is no head of a team they supervised supervises it no more.
    """
    first: dict[str, str] = {}
    for head in heads:
        if head.is_head:
            first.setdefault(head.team_id, head.person_id)
    no_more = [(head.team_id, head.person_id) for head in heads if not head.is_head]
    changed = await tx.fetchval(
        """
        WITH named AS (
            UPDATE teams SET supervisor_id = x->>1, supervisor_import = $3
            FROM jsonb_array_elements($1::jsonb) AS x
            WHERE id = x->>0 AND supervisor_import IS DISTINCT FROM $3
            RETURNING id
        ), cleared AS (
            UPDATE teams SET supervisor_id = ''
            FROM jsonb_array_elements($2::jsonb) AS x
            WHERE id = x->>0 AND supervisor_id = x->>1 AND supervisor_import IS DISTINCT FROM $3
                  AND id NOT IN (SELECT y->>0 FROM jsonb_array_elements($1::jsonb) AS y)
            RETURNING id
        )
        SELECT (SELECT count(*) FROM named) + (SELECT count(*) FROM cleared)
        """,
        jsonb(first.items()),
        jsonb(no_more),
        import_id,
    )
    if changed:
        await move_version(tx)


async def note_members(tx: Transaction, directory: str, person_ids: Sequence[str], import_id: str) -> None:
    """Keeps that these people were in this import of a directory: who is missing from a later one is a finding."""
    await tx.execute(
        """
        INSERT INTO directory_members (directory, person_id, import_id)
        SELECT $1, person_id, $3::uuid FROM unnest($2::text[]) AS person_id GROUP BY person_id ORDER BY person_id
        ON CONFLICT (directory, person_id) DO UPDATE SET import_id = excluded.import_id
        """,
        directory,
        list(person_ids),
        import_id,
    )
