"""Plain SQL migrations, applied in order of their names under an advisory lock by the owner of the schema."""

from pathlib import Path


class MigrationChangedError(Exception):
    """A file was changed after it was applied; write a new one instead."""


async def migrate(owner_dsn: str, schema: str, directory: Path, *, password: str | None = None) -> list[str]:
    """Brings `schema` up to date: first the chassis's tables (outbox, inbox, idempotency), then `directory`/*.sql.

    Each file is one transaction; what was applied is kept in `schema_migrations(name, sha256, applied_at)`. Returns the
    names applied now. Several processes may call it at once. Raises `MigrationChangedError`.
    """
    raise NotImplementedError
