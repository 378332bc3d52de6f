"""PostgreSQL: a bounded pool, one transaction per request, the deadline handed on as `statement_timeout`.

Failures arrive as `chassis.errors` with `dependency="postgres"`; a unique violation as `UniqueViolationError`, for stores.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Self

from asyncpg import Record

from breakwater.resilience import Policy


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The limits of one process's pool."""

    size_max: int = 10
    acquire_timeout_s: float = 2.0
    connect_timeout_s: float = 3.0
    statement_timeout_s: float = 30.0
    """Where no deadline is nearer."""


class UniqueViolationError(Exception):
    """A row with this key exists; `constraint` names the index. The transaction, or its savepoint, is void."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class Reader:
    """Reads, each statement by itself. jsonb travels as text, numeric as Decimal, timestamptz as aware UTC."""

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        """All rows. Raises `UnavailableError`, `DeadlineExceededError`."""
        raise NotImplementedError

    async def fetchrow(self, sql: str, *args: Any) -> Record | None:
        """The first row or None."""
        raise NotImplementedError

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first column of the first row or None."""
        raise NotImplementedError


class Transaction(Reader):
    """One transaction, committed when its block ends, rolled back when it raises."""

    async def execute(self, sql: str, *args: Any) -> str:
        """Runs a statement; returns its tag, such as `UPDATE 3`."""
        raise NotImplementedError

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs a statement for each row, pipelined. `unnest` with arrays is faster still."""
        raise NotImplementedError

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Writes many rows by COPY; returns how many."""
        raise NotImplementedError

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """A part that may fail, with `UniqueViolationError` for one, without voiding the transaction."""
        raise NotImplementedError

    def stream(self, sql: str, *args: Any, chunk_rows: int = 500) -> AsyncIterator[list[Record]]:
        """The rows in chunks, by a server-side cursor: memory stays at one chunk."""
        raise NotImplementedError

    def announce(self, topic: str) -> None:
        """Wakes those who listen to `topic` in this process (`Database.listen`), once committed."""
        raise NotImplementedError


class Database:
    """The pool of one process."""

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        service: str,
        password: str | None = None,
        policy: Policy | None = None,
        limits: PoolLimits | None = None,
    ) -> Self:
        """Prepares the pool; connections are made when needed, so a service starts without PostgreSQL.

        `policy` guards the edge `service -> postgres`; classify its outcomes with `database.classify`.
        """
        raise NotImplementedError

    def transaction(self, *, long: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """A transaction (read committed). `long`: the policy guards and times its beginning only, for work that waits for
        others inside.
        """
        raise NotImplementedError

    def snapshot(self) -> AbstractAsyncContextManager[Transaction]:
        """A read-only transaction that sees one moment (repeatable read), however long it takes: for exports."""
        raise NotImplementedError

    def read(self) -> AbstractAsyncContextManager[Reader]:
        """Reads without a transaction, each statement seeing what is committed."""
        raise NotImplementedError

    def listen(self, topic: str, callback: Callable[[], None]) -> None:
        """Calls `callback` after each commit of a transaction that announced `topic`."""
        raise NotImplementedError

    async def close(self) -> None:
        """Waits for connections in use, bounded, and closes."""
        raise NotImplementedError
