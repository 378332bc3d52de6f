"""What a database of leads must look like when replicas captured into it while they were killed: nothing lost or doubled."""

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.routing.rulebook import PostgresRulesStore
from services.leads.routing.usecases import replay_assignment
from tests.assignment.worker import Replica

AUDITOR: Final = Actor("auditor", Role.ADMIN, Scope.ALL)
SHOWN_MAX: Final = 3

RULES: Final[Mapping[str, str]] = {
    "a lead without an owner": "SELECT id::text FROM leads WHERE owner_id IS NULL",
    "a lead that was assigned twice, or never": """
        SELECT l.id::text FROM leads l LEFT JOIN assignments a ON a.lead_id = l.id AND NOT (a.stood_on->>'again')::boolean
        GROUP BY l.id HAVING count(a.id) <> 1
    """,
    "a lead whose owner is not whom its last decision names": """
        SELECT l.id::text FROM leads l JOIN LATERAL (
            SELECT owner_id FROM assignments WHERE lead_id = l.id ORDER BY id DESC LIMIT 1
        ) AS last ON true WHERE last.owner_id IS DISTINCT FROM l.owner_id
    """,
    "a customer with two owners": """
        SELECT customer_id::text FROM leads WHERE NOT waiting GROUP BY customer_id HAVING count(DISTINCT owner_id) > 1
    """,
    "a customer that is there twice": """
        SELECT phone FROM customers WHERE phone <> '' GROUP BY phone HAVING count(*) > 1
    """,
    "a load that does not add up": """
        SELECT w.person_id || ': ' || w.open_leads || ' kept, ' || count(l.id) || ' there'
        FROM workloads w LEFT JOIN leads l ON l.owner_id = w.person_id AND l.stage IN ('new', 'contacted', 'qualified')
        GROUP BY w.person_id, w.open_leads HAVING w.open_leads <> count(l.id)
    """,
    "a lead without its timer": """
        SELECT id::text FROM leads WHERE claimed_at IS NULL
               AND NOT EXISTS (SELECT FROM first_touch_timers t WHERE t.lead_id = leads.id)
    """,
    "a decision that nobody was told of, or twice": """
        SELECT l.id::text FROM leads l
        JOIN (SELECT lead_id, count(*) AS made FROM assignments GROUP BY lead_id) AS decided ON decided.lead_id = l.id
        LEFT JOIN (SELECT subject_id, count(*) AS told FROM outbox WHERE type LIKE '%LeadAssigned' GROUP BY subject_id) AS said
            ON said.subject_id = l.id::text
        WHERE decided.made <> coalesce(said.told, 0)
    """,
    "a rule that gave somebody more than they may hold": """
        SELECT a.id::text FROM assignments a JOIN people p ON p.id = a.owner_id
        WHERE a.rule_id NOT IN ('one-customer-one-owner', 'desk')
              AND coalesce((a.stood_on->'figures'->a.owner_id->>0)::integer, 0) >= p.open_leads_max
    """,
}


async def audit(admin_dsn: str, told: Mapping[int, str], wanted: int) -> list[str]:
    """Every way in which the database is not what was told; `told` is the id of each lead by its number."""
    connection = await asyncpg.connect(admin_dsn)
    try:
        await connection.execute("SET search_path = leads, public")
        found = [f"{wanted - len(told)} leads were never told to be there"] if len(told) != wanted else []
        there = {str(row["id"]) for row in await connection.fetch("SELECT id::text FROM leads")}
        lost = set(told.values()) - there
        found += [f"{len(lost)} leads that were told to be there are lost"] if lost else []
        extra = len(there) - len(set(told.values()))
        found += [f"{extra} leads are there that nobody was told of"] if extra > 0 else []
        for what, sql in RULES.items():
            rows = await connection.fetch(sql)
            if rows:
                found.append(f"{what}: {len(rows)}, such as {', '.join(str(row[0]) for row in rows[:SHOWN_MAX])}")
        return found
    finally:
        await connection.close()


async def replay_some(admin_dsn: str, replica: Replica, count: int) -> tuple[int, list[Any]]:
    """Decisions made again, at most `count` spread over all; how many, and those that did not come out the same."""
    connection = await asyncpg.connect(admin_dsn)
    try:
        rows = await connection.fetch(
            """
            SELECT id::text, lead_id::text FROM leads.assignments WHERE ground IS NOT NULL ORDER BY md5(id::text) LIMIT $1
            """,
            count,
        )
    finally:
        await connection.close()

    def begin() -> Any:
        return PostgresRulesStore.begin(replica.database, replica.snapshots)

    differing = []
    for row in rows:
        replay = await replay_assignment(begin, AUDITOR, row["lead_id"], row["id"])
        if not replay.is_equal:
            differing.append(replay)
    return len(rows), differing
