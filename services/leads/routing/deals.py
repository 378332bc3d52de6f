"""Deals people have won lately, in PostgreSQL: where the nearest and the most successful are found (4, 55)."""

from datetime import datetime
from typing import Final

from breakwater.chassis.database import Database, Reader
from services.leads.organisation.store import move_version
from services.leads.routing.domain import Deals

WON_STAGES: Final = ("Closed Won", "赢单", "已成交", "成交")
"""Words for a won opportunity of the systems we import from; one with a probability of 100 % is won too."""


async def read_deals(reader: Reader) -> Deals:
    """As they were last worked out."""
    rows = await reader.fetch("SELECT person_id, city_code, deals FROM recent_deals ORDER BY person_id, city_code")
    by_city: dict[str, dict[str, int]] = {}
    for row in rows:
        by_city.setdefault(row["person_id"], {})[row["city_code"]] = row["deals"]
    return Deals(by_city)


async def refresh_deals(database: Database, now: datetime, *, days: int) -> bool:
    """Works out the deals of the last `days` days anew; a change is in force with the next transaction of every replica.

    A deal is where the newest lead of its customer is.
    """
    async with database.transaction() as tx:
        # Of several replicas at once each would find the same; the second finds nothing left to do.
        await tx.execute("SELECT FROM snapshot_version FOR UPDATE")
        changed = await tx.fetchval(
            """
            WITH found AS (
                SELECT o.owner_id AS person_id, coalesce(place.city_code, '') AS city_code, count(*)::integer AS deals
                FROM opportunities o
                LEFT JOIN LATERAL (
                    SELECT city_code FROM leads WHERE customer_id = o.customer_id AND city_code <> ''
                    ORDER BY id DESC LIMIT 1
                ) AS place ON true
                WHERE o.owner_id <> '' AND (o.probability = 100 OR o.stage = ANY($3::text[]))
                      AND coalesce(o.closing_at, o.occurred_at) BETWEEN $1::timestamptz - make_interval(days => $2) AND $1
                GROUP BY 1, 2
            ), gone AS (
                DELETE FROM recent_deals r
                WHERE NOT EXISTS (
                    SELECT FROM found f WHERE f.person_id = r.person_id AND f.city_code = r.city_code
                ) RETURNING 1
            ), kept AS (
                INSERT INTO recent_deals AS r (person_id, city_code, deals) SELECT * FROM found
                ON CONFLICT (person_id, city_code) DO UPDATE SET deals = excluded.deals
                WHERE r.deals <> excluded.deals RETURNING 1
            )
            SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM kept)
            """,
            now,
            days,
            WON_STAGES,
        )
        if changed:
            await move_version(tx)
    return bool(changed)
