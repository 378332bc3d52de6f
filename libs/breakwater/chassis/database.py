"""PostgreSQL: a bounded pool, one transaction per request, the deadline handed on as `statement_timeout`.

Failures arrive as `chassis.errors` with `dependency="postgres"`; a unique violation as `UniqueViolationError`, which
stores may expect.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, TypeVar

import asyncpg
from asyncpg import Record
from asyncpg.pool import PoolConnectionProxy

from breakwater.chassis.errors import DeadlineExceededError, InternalError, UnavailableError
from breakwater.chassis.policies import error_of_policy
from breakwater.chassis.sqlerrors import (
    DEPENDENCY,
    DRIVER_ERRORS,
    UniqueViolationError,
    classify,
    connection_lost,
    translated,
)
from breakwater.resilience import Policy, PolicyError, current_deadline

__all__ = ["Database", "PoolLimits", "Reader", "Transaction", "UniqueViolationError", "classify"]

T = TypeVar("T")
Connection: TypeAlias = "PoolConnectionProxy[Record]"


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The limits of one process's pool."""

    size_max: int = 10
    acquire_timeout_s: float = 2.0
    """How long a request waits for a connection, a new one's handshake included."""
    statement_timeout_s: float = 30.0
    """Where no deadline is nearer."""
    idle_s_max: float = 300.0
    """After this an idle connection is closed."""
    close_timeout_s: float = 5.0
    """How long `close` waits for connections in use."""


_BEGIN = "BEGIN; SET LOCAL statement_timeout = {timeout_ms}"
_BEGIN_REPEATABLE = "BEGIN; SET LOCAL statement_timeout = {timeout_ms}; SET LOCAL synchronous_commit = off"
_BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = {timeout_ms}"

# The server ends a statement by itself; we wait this much longer for a server that no longer does.
_GRACE_S = 0.5
_ROLLBACK_TIMEOUT_S = 1.0


class Reader:
    """Reads, each statement by itself. jsonb travels as text, numeric as Decimal, timestamptz as aware UTC.

    Every method raises `UnavailableError` and its subclasses, and `UniqueViolationError`; see `chassis.sqlerrors`.
    """

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        """All rows."""
        return await self._run(lambda connection: connection.fetch(sql, *args, timeout=self._timeout_s))

    async def fetchrow(self, sql: str, *args: Any) -> Record | None:
        """The first row or None."""
        return await self._run(lambda connection: connection.fetchrow(sql, *args, timeout=self._timeout_s))

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first column of the first row or None."""
        return await self._run(lambda connection: connection.fetchval(sql, *args, timeout=self._timeout_s))

    async def _run(self, statement: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await statement(self._connection)
        except DRIVER_ERRORS as error:
            raise translated(error, lost=_gone(self._connection)) from error


class Transaction(Reader):
    """One transaction, committed when its block ends, rolled back when it raises."""

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        super().__init__(connection, timeout_s)
        self._savepoints = itertools.count(1)
        self.announced: set[str] = set()

    async def execute(self, sql: str, *args: Any) -> str:
        """Runs a statement; returns its tag, such as `UPDATE 3`."""
        return await self._run(lambda connection: connection.execute(sql, *args, timeout=self._timeout_s))

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs a statement for each row, pipelined. `unnest` with arrays is faster still."""
        await self._run(lambda connection: connection.executemany(sql, rows, timeout=self._timeout_s))

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Writes many rows by COPY; returns how many."""
        tag = await self._run(
            lambda connection: connection.copy_records_to_table(
                table, columns=list(columns), records=rows, timeout=self._timeout_s
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
        cursor = await self._run(lambda connection: connection.cursor(sql, *args, timeout=self._timeout_s))
        while chunk := await self._run(lambda _: cursor.fetch(chunk_rows, timeout=self._timeout_s)):
            yield chunk

    def announce(self, topic: str) -> None:
        """Wakes those who listen to `topic` in this process (`Database.listen`), once committed."""
        self.announced.add(topic)


class _AutocommitReader(Reader):
    """Replaces a connection that turns out dead at its first statement: a lone read may be sent twice."""

    def __init__(
        self, connection: Connection, timeout_s: float, replace: Callable[[Connection], Awaitable[Connection]]
    ) -> None:
        super().__init__(connection, timeout_s)
        self._replace = replace
        self._fresh = True

    @property
    def connection(self) -> Connection:
        return self._connection

    async def _run(self, statement: Callable[[Connection], Awaitable[T]]) -> T:
        fresh, self._fresh = self._fresh, False
        try:
            return await statement(self._connection)
        except DRIVER_ERRORS as error:
            lost = _gone(self._connection) or connection_lost(error)
            if not (fresh and lost):
                raise translated(error, lost=lost) from error
        self._connection = await self._replace(self._connection)
        return await super()._run(statement)


class Database:
    """The pool of one process, used as `async with database.transaction() as tx`."""

    def __init__(self, pool: asyncpg.Pool, policy: Policy | None, limits: PoolLimits) -> None:
        self._pool = pool
        self._policy = policy
        self._limits = limits
        self._listeners: dict[str, list[Callable[[], None]]] = {}

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

        `policy` guards the edge `service -> postgres`; it should classify with `database.classify`.
        """
        limits = limits or PoolLimits()
        pool = await asyncpg.create_pool(
            dsn,
            password=password,
            min_size=0,
            max_size=limits.size_max,
            max_inactive_connection_lifetime=limits.idle_s_max,
            timeout=limits.acquire_timeout_s,
            # No session state survives a transaction here: nothing to reset, half of the round trips saved.
            reset=_nothing_to_reset,
            server_settings={
                "application_name": f"breakwater-{service}",
                "statement_timeout": str(_milliseconds(limits.statement_timeout_s)),
            },
        )
        return cls(pool, policy, limits)

    @asynccontextmanager
    async def transaction(self, *, long: bool = False, durable: bool = True) -> AsyncIterator[Transaction]:
        """A transaction (read committed).

        `long`, for work that waits for others: its beginning alone is timed. `durable=False`, for what is harmlessly done
        twice: its commit does not wait for the disk, and a crash of PostgreSQL may undo the last half second of it.
        """
        async with self._admitted(answered_at_begin=long) as (timeout_s, begun):
            async with self._begun(_BEGIN if durable else _BEGIN_REPEATABLE, timeout_s, begun) as tx:
                yield tx
            for topic in tx.announced:
                for callback in self._listeners.get(topic, ()):
                    callback()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """A read-only transaction that sees one moment (repeatable read), however long it takes: for exports."""
        async with (
            self._admitted(answered_at_begin=True) as (timeout_s, begun),
            self._begun(_BEGIN_SNAPSHOT, timeout_s, begun) as tx,
        ):
            yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Reader]:
        """Reads without a transaction, each statement seeing what is committed."""
        async with self._admitted() as (timeout_s, _):
            reader = _AutocommitReader(await self._acquire(timeout_s), timeout_s + _GRACE_S, self._replace)
            try:
                yield reader
            finally:
                await self._release(reader.connection)

    def listen(self, topic: str, callback: Callable[[], None]) -> None:
        """Calls `callback` after each commit, in this process, of a transaction that announced `topic`."""
        self._listeners.setdefault(topic, []).append(callback)

    async def close(self) -> None:
        """Waits for connections in use, bounded, and closes."""
        try:
            async with asyncio.timeout(self._limits.close_timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def _replace(self, connection: Connection) -> Connection:
        """A new connection for one found dead; its sisters of the same age are replaced as they are taken."""
        await self._release(connection)
        await self._pool.expire_connections()
        return await self._acquire(self._limits.acquire_timeout_s)

    @asynccontextmanager
    async def _admitted(self, *, answered_at_begin: bool = False) -> AsyncIterator[tuple[float, Callable[[], None]]]:
        """Yields the seconds the work may take, and what to call when it has begun."""
        if self._policy is None:
            yield self._timeout_s(), _nothing
            return
        try:
            async with self._policy.admit() as admission:
                timeout_s = min(admission.timeout_s, self._limits.statement_timeout_s)
                yield timeout_s, admission.answered if answered_at_begin else _nothing
        except PolicyError as error:
            raise error_of_policy(error) from error

    @asynccontextmanager
    async def _begun(self, begin: str, timeout_s: float, begun: Callable[[], None]) -> AsyncIterator[Transaction]:
        connection = await self._begin(begin.format(timeout_ms=_milliseconds(timeout_s)), timeout_s)
        try:
            begun()
            tx = Transaction(connection, timeout_s + _GRACE_S)
            yield tx
            await tx.commit()
        except BaseException:
            await _roll_back(connection)
            raise
        finally:
            await self._release(connection)

    async def _begin(self, begin: str, timeout_s: float) -> Connection:
        connection = await self._acquire(timeout_s)
        try:
            await connection.execute(begin, timeout=timeout_s)
        except DRIVER_ERRORS as error:
            if not (_gone(connection) or connection_lost(error)):
                await self._abandon(connection)
                raise translated(error) from error
        except BaseException:
            await self._abandon(connection)
            raise
        else:
            return connection
        # It died while idle and nothing was asked of it yet: nobody needs to know.
        connection = await self._replace(connection)
        try:
            await connection.execute(begin, timeout=timeout_s)
        except BaseException as error:
            await self._abandon(connection)
            raise (translated(error) if isinstance(error, DRIVER_ERRORS) else error) from error
        return connection

    async def _acquire(self, timeout_s: float) -> Connection:
        try:
            async with asyncio.timeout(min(timeout_s, self._limits.acquire_timeout_s)):
                return await self._pool.acquire()
        except TimeoutError as error:
            detail = "No database connection was free in time."
            raise UnavailableError(detail, code="pool_exhausted", dependency=DEPENDENCY) from error
        except DRIVER_ERRORS as error:
            raise translated(error) from error

    async def _release(self, connection: Connection) -> None:
        # One that cannot be cleaned in time is terminated by the pool itself.
        with suppress(*DRIVER_ERRORS):
            await self._pool.release(connection, timeout=_ROLLBACK_TIMEOUT_S)

    async def _abandon(self, connection: Connection) -> None:
        _terminate(connection)
        await self._release(connection)

    def _timeout_s(self) -> float:
        deadline = current_deadline.get()
        if deadline is None:
            return self._limits.statement_timeout_s
        remaining_s = deadline.remaining_s()
        if remaining_s <= 0:
            raise DeadlineExceededError("The deadline passed before the database was asked.", dependency=DEPENDENCY)
        return min(remaining_s, self._limits.statement_timeout_s)


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK", timeout=_ROLLBACK_TIMEOUT_S)
    except BaseException as error:
        # Its state is unknown: another request must not get it.
        _terminate(connection)
        if not isinstance(error, DRIVER_ERRORS):
            raise


def _gone(connection: Connection) -> bool:
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        # The pool dropped it when it broke: its proxy refuses every call.
        return True


def _terminate(connection: Connection) -> None:
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _nothing_to_reset(_connection: Any) -> None:
    """Stands for the driver's own reset."""


def _nothing() -> None:
    """Where no policy listens."""


def _milliseconds(seconds: float) -> int:
    # 0 would mean without a limit.
    return max(1, round(seconds * 1000))
