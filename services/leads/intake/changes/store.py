"""Changes in PostgreSQL; triggers write them (0142_changes.sql)."""

from breakwater.chassis.database import Transaction
from services.leads.intake.changes.usecases import Change
from services.leads.intake.reads import PostgresLeadReader


async def attribute(tx: Transaction, by: str, reason: str) -> None:
    """Says who makes the changes that follow in this transaction, and why."""
    await tx.execute(
        "SELECT set_config('leads.changed_by', $1, true), set_config('leads.change_reason', $2, true)", by, reason
    )


class PostgresChangeReader(PostgresLeadReader):
    """The `ChangeReader` of one connection."""

    async def changes(self, subject_id: str, before: int | None, limit: int) -> list[Change]:
        # A decision of routing has its reason in the assignment it wrote.
        rows = await self._reader.fetch(
            """
            SELECT c.id, c.field, c.before, c.after, c.changed_at,
                   coalesce(nullif(c.changed_by, 'system'), 'rule:' || a.rule_id, c.changed_by) AS changed_by,
                   coalesce(nullif(c.reason, ''), a.reason, '') AS reason
            FROM changes c
            LEFT JOIN LATERAL (
                SELECT rule_id, reason FROM assignments
                WHERE c.field = 'owner_id' AND c.subject = 'lead' AND lead_id = c.subject_id AND owner_id = c.after
                ORDER BY id DESC LIMIT 1
            ) AS a ON true
            WHERE c.subject_id = $1 AND ($2::bigint IS NULL OR c.id < $2) ORDER BY c.id DESC LIMIT $3
            """,
            subject_id,
            before,
            limit,
        )
        return [
            Change(
                row["id"],
                row["field"],
                row["before"],
                row["after"],
                row["changed_by"],
                row["reason"],
                row["changed_at"],
            )
            for row in rows
        ]
