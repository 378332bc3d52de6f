"""SQL statements, one by one or in a transaction, each within its time; failures are those of `chassis.sqlerrors`."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg import Record
from asyncpg.pool import PoolConnectionProxy

from breakwater.chassis.errors import InternalError
from breakwater.chassis.sqlerrors import DEPENDENCY, DRIVER_ERRORS, TooLateError, connection_lost, translated
from breakwater.resilience import Deadline

T = TypeVar("T")
Connection: TypeAlias = "PoolConnectionProxy[Record]"
Pace: TypeAlias = Callable[[], Awaitable[None]]
Statement: TypeAlias = Callable[[Connection, float], Awaitable[T]]


# The server ends a statement by itself; we wait this much longer for a server that no longer does.
_GRACE_S = 0.25
ROLLBACK_TIMEOUT_S = 1.0
_ROLLBACK_TIMEOUT_S_MIN = 0.05


class Allowance:
    """The time of one request's work: so much for a statement, and for all of them what is left of the deadline."""

    def __init__(self, statement_s: float, deadline: Deadline | None, pace: Pace | None = None) -> None:
        """`pace`, where answers are to come late on purpose, is awaited after each."""
        self._statement_s = statement_s
        self._deadline = deadline
        self.pace = pace

    def statement_s(self) -> float:
        """For the next statement. Raises `TooLateError` where nothing is left: it is not started then."""
        if self._deadline is None:
            return self._statement_s
        left_s = self._deadline.remaining_s()
        if left_s <= 0:
            raise TooLateError("The deadline passed before the database was asked.", dependency=DEPENDENCY)
        return min(self._statement_s, left_s)

    def rollback_s(self) -> float:
        """For clearing up; past the deadline no caller waits for that."""
        if self._deadline is None:
            return ROLLBACK_TIMEOUT_S
        return max(_ROLLBACK_TIMEOUT_S_MIN, min(ROLLBACK_TIMEOUT_S, self._deadline.remaining_s() + _GRACE_S))


class Reader:
    """Reads, each statement by itself. jsonb travels as text, numeric as Decimal, timestamptz as aware UTC.

    Every method raises `UnavailableError` and its subclasses, and `UniqueViolationError`; see `chassis.sqlerrors`.
    """

    def __init__(self, connection: Connection, allowance: Allowance) -> None:
        self._connection = connection
        self._allowance = allowance

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        """All rows."""
        return await self._run(lambda connection, timeout_s: connection.fetch(sql, *args, timeout=timeout_s))

    async def fetchrow(self, sql: str, *args: Any) -> Record | None:
        """The first row or None."""
        return await self._run(lambda connection, timeout_s: connection.fetchrow(sql, *args, timeout=timeout_s))

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first column of the first row or None."""
        return await self._run(lambda connection, timeout_s: connection.fetchval(sql, *args, timeout=timeout_s))

    async def _run(self, statement: Statement[T]) -> T:
        timeout_s = self._allowance.statement_s() + _GRACE_S
        try:
            answer = await statement(self._connection, timeout_s)
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error
        if self._allowance.pace is not None:
            await self._allowance.pace()
        return answer

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, TimeoutError):
            # Not even the server's own time-out came: nothing on this connection is worth waiting for.
            terminate(self._connection)
            return translated(error)
        return translated(error, lost=gone(self._connection))


class Transaction(Reader):
    """One transaction, committed when its block ends, rolled back when it raises."""

    def __init__(self, connection: Connection, allowance: Allowance) -> None:
        super().__init__(connection, allowance)
        self._savepoints = itertools.count(1)
        self.announced: set[str] = set()

    async def execute(self, sql: str, *args: Any) -> str:
        """Runs a statement; returns its tag, such as `UPDATE 3`."""
        return await self._run(lambda connection, timeout_s: connection.execute(sql, *args, timeout=timeout_s))

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs a statement for each row, pipelined. `unnest` with arrays is faster still."""
        await self._run(lambda connection, timeout_s: connection.executemany(sql, rows, timeout=timeout_s))

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Writes many rows by COPY; returns how many."""
        tag = await self._run(
            lambda connection, timeout_s: connection.copy_records_to_table(
                table, columns=list(columns), records=rows, timeout=timeout_s
            )
        )
        return int(tag.rpartition(" ")[2])

    async def commit(self) -> None:
        """Ends the transaction; done by `Database.transaction`."""
        if await self.execute("COMMIT") != "COMMIT":
            # A statement had failed and its error was swallowed without a savepoint: PostgreSQL rolled back.
            raise InternalError("The transaction was void before its end.")

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part that may fail, with `UniqueViolationError` for one, without voiding the transaction."""
        name = f"part_{next(self._savepoints)}"
        await self.execute(f"SAVEPOINT {name}")
        try:
            yield
        except Exception:
            await self.execute(f"ROLLBACK TO SAVEPOINT {name}")
            raise
        await self.execute(f"RELEASE SAVEPOINT {name}")

    async def stream(self, sql: str, *args: Any, chunk_rows: int = 500) -> AsyncIterator[list[Record]]:
        """The rows in chunks, by a server-side cursor: memory stays at one chunk."""
        cursor = await self._run(lambda connection, timeout_s: connection.cursor(sql, *args, timeout=timeout_s))
        while chunk := await self._run(lambda _, timeout_s: cursor.fetch(chunk_rows, timeout=timeout_s)):
            yield chunk

    def announce(self, topic: str) -> None:
        """Wakes those who listen to `topic` in this process (`Database.listen`), once committed."""
        self.announced.add(topic)


class AutocommitReader(Reader):
    """Replaces a connection that turns out dead at its first statement: a lone read may be sent twice."""

    def __init__(
        self, connection: Connection, allowance: Allowance, replace: Callable[[Connection], Awaitable[Connection]]
    ) -> None:
        super().__init__(connection, allowance)
        self._replace = replace
        self._fresh = True

    @property
    def connection(self) -> Connection:
        return self._connection

    async def _run(self, statement: Statement[T]) -> T:
        fresh, self._fresh = self._fresh, False
        timeout_s = self._allowance.statement_s() + _GRACE_S
        try:
            answer = await statement(self._connection, timeout_s)
        except DRIVER_ERRORS as error:
            if not (fresh and (gone(self._connection) or connection_lost(error))):
                raise self._failed(error) from error
        else:
            if self._allowance.pace is not None:
                await self._allowance.pace()
            return answer
        self._connection = await self._replace(self._connection)
        return await super()._run(statement)


def gone(connection: Connection) -> bool:
    """Whether nothing can be asked of it any more."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        # The pool dropped it when it broke: its proxy refuses every call.
        return True


def terminate(connection: Connection) -> None:
    """Closes it at once, whatever it is at."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()
