"""Versions of the rules in PostgreSQL, and past leads to try rules on."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import orjson

from breakwater.chassis.database import Database, Transaction
from services.leads.intake.capture import Lead
from services.leads.intake.domain import facts_of
from services.leads.intake.reads import LEAD_COLUMNS, lead_from
from services.leads.organisation.store import move_version
from services.leads.routing.domain import Facts, Ground, Ledger
from services.leads.routing.replay import stood_on_from, told_of
from services.leads.routing.rules import RuleSet
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots, read_histories, read_ledger, rules_of
from services.leads.routing.usecases import KeptDecision, KeptRules, PastLead
from services.leads.rows import jsonb
from services.leads.sla.usecases import TRANSFER_RULE


class PostgresRulesStore:
    """The `RulesStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: Snapshots) -> None:
        self._tx = tx
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresRulesStore"]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._tx)

    async def rules(self, version: int | None) -> KeptRules | None:
        row = await self._tx.fetchrow(
            """
            SELECT version, document, author, created_at FROM routing_rules
            WHERE $1::integer IS NULL OR version = $1 ORDER BY version DESC LIMIT 1
            """,
            version,
        )
        return KeptRules(**{**row, "document": orjson.loads(row["document"])}) if row else None

    async def lock_rules(self) -> int:
        await self._tx.execute("SELECT FROM snapshot_version FOR UPDATE")
        return int(await self._tx.fetchval("SELECT max(version) FROM routing_rules"))

    async def add_rules(self, rules: KeptRules) -> None:
        await self._tx.execute(
            "INSERT INTO routing_rules (version, document, author, created_at) VALUES ($1, $2::jsonb, $3, $4)",
            rules.version,
            jsonb(rules.document),
            rules.author,
            rules.created_at,
        )
        await move_version(self._tx)

    async def past_leads(self, limit: int) -> list[PastLead]:
        rows = await self._tx.fetch(
            f"""
            SELECT {LEAD_COLUMNS}, (
                SELECT owner_id FROM assignments WHERE lead_id = leads.id AND rule_id <> $2 ORDER BY id DESC LIMIT 1
            ) AS decided_owner_id
            FROM leads WHERE assigned_at IS NOT NULL ORDER BY id DESC LIMIT $1
            """,  # noqa: S608 - a constant
            limit,
            TRANSFER_RULE,
        )
        return [_past(lead_from(row), row["decided_owner_id"]) for row in reversed(rows)]

    async def histories(self, customer_ids: Sequence[str], now: datetime) -> Mapping[str, Facts]:
        return await read_histories(self._tx, customer_ids, now)

    async def kept_decision(
        self, lead_id: str, assignment_id: str, owners: Sequence[str] | None
    ) -> KeptDecision | None:
        row = await self._tx.fetchrow(
            """
            SELECT a.owner_id, a.rule_id, a.rule_version, a.priority, a.reason, a.score, a.candidates, a.decided_at,
                   a.stood_on, a.digest, a.ground, g.content
            FROM assignments a JOIN leads l ON l.id = a.lead_id LEFT JOIN routing_grounds g ON g.hash = a.ground
            WHERE a.id = $1 AND a.lead_id = $2 AND ($3::text[] IS NULL OR l.owner_id = ANY($3))
            """,
            assignment_id,
            lead_id,
            owners,
        )
        if row is None:
            return None
        fields = ("owner_id", "rule_id", "rule_version", "priority", "reason", "score")
        return KeptDecision(
            told=told_of(**{name: row[name] for name in fields}, candidates=orjson.loads(row["candidates"])),
            digest=row["digest"] or "",
            rule_version=row["rule_version"],
            decided_at=row["decided_at"],
            ground=Ground(row["ground"], row["content"], is_kept=True) if row["content"] else None,
            stood_on=stood_on_from(orjson.loads(row["stood_on"])) if row["stood_on"] else None,
        )

    async def ready_rules(self, version: int) -> RuleSet:
        newest = await self.snapshot()
        rules = newest.rules if newest.rules.version == version else await rules_of(self._tx, version)
        if rules is None:
            raise RuntimeError(f"version {version} of the routing rules is gone")
        return rules

    async def ledger(self) -> Ledger:
        return await read_ledger(self._tx)


def _past(lead: Lead, decided_owner_id: str | None) -> PastLead:
    return PastLead(lead.id, lead.customer_id, lead.draft.stage, decided_owner_id, facts_of(lead.draft))
