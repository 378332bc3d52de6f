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
    TooLateError,
    UniqueViolationError,
    classify,
    connection_lost,
    injected,
    translated,
)
from breakwater.resilience import Deadline, FaultKind, Policy, PolicyError, current_deadline

__all__ = ["Database", "PoolLimits", "Reader", "Transaction", "UniqueViolationError", "classify"]

T = TypeVar("T")
Connection: TypeAlias = "PoolConnectionProxy[Record]"
Pace: TypeAlias = Callable[[], Awaitable[None]]
Statement: TypeAlias = Callable[[Connection, float], Awaitable[T]]


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
_GRACE_S = 0.25
_ROLLBACK_TIMEOUT_S = 1.0
_ROLLBACK_TIMEOUT_S_MIN = 0.05


class _Allowance:
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
            return _ROLLBACK_TIMEOUT_S
        return max(_ROLLBACK_TIMEOUT_S_MIN, min(_ROLLBACK_TIMEOUT_S, self._deadline.remaining_s() + _GRACE_S))


class Reader:
    """Reads, each statement by itself. jsonb travels as text, numeric as Decimal, timestamptz as aware UTC.

    Every method raises `UnavailableError` and its subclasses, and `UniqueViolationError`; see `chassis.sqlerrors`.
    """

    def __init__(self, connection: Connection, allowance: _Allowance) -> None:
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
            _terminate(self._connection)
            return translated(error)
        return translated(error, lost=_gone(self._connection))


class Transaction(Reader):
    """One transaction, committed when its block ends, rolled back when it raises."""

    def __init__(self, connection: Connection, allowance: _Allowance) -> None:
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


class _AutocommitReader(Reader):
    """Replaces a connection that turns out dead at its first statement: a lone read may be sent twice."""

    def __init__(
        self, connection: Connection, allowance: _Allowance, replace: Callable[[Connection], Awaitable[Connection]]
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
            if not (fresh and (_gone(self._connection) or connection_lost(error))):
                raise self._failed(error) from error
        else:
            if self._allowance.pace is not None:
                await self._allowance.pace()
            return answer
        self._connection = await self._replace(self._connection)
        return await super()._run(statement)


class Database:
    """The pool of one process, used as `async with database.transaction() as tx`."""

    def __init__(self, pool: asyncpg.Pool, policy: Policy | None, limits: PoolLimits) -> None:
        self._pool = pool
        self._policy = policy
        if policy is not None:
            # Only the driver knows what an SQLSTATE means.
            policy.chaos.transport_commits = frozenset({FaultKind.ERROR})
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
        async with self._admitted(answered_at_begin=long) as (allowance, begun):
            async with self._begun(_BEGIN if durable else _BEGIN_REPEATABLE, allowance, begun) as tx:
                yield tx
            for topic in tx.announced:
                for callback in self._listeners.get(topic, ()):
                    callback()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """A read-only transaction that sees one moment (repeatable read), however long it takes: for exports."""
        async with (
            self._admitted(answered_at_begin=True) as (allowance, begun),
            self._begun(_BEGIN_SNAPSHOT, allowance, begun) as tx,
        ):
            yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Reader]:
        """Reads without a transaction, each statement seeing what is committed."""
        async with self._admitted() as (allowance, _):
            reader = _AutocommitReader(await self._acquire(allowance.statement_s()), allowance, self._replace)
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
    async def _admitted(
        self, *, answered_at_begin: bool = False
    ) -> AsyncIterator[tuple[_Allowance, Callable[[], None]]]:
        """Yields the time the work may take, and what to call when it has begun."""
        deadline, statement_s = current_deadline.get(), self._limits.statement_timeout_s
        if self._policy is None:
            yield _Allowance(statement_s, deadline), _nothing
            return
        try:
            async with self._policy.admit() as admission:
                if admission.fault is not None:
                    raise injected(admission.fault.code)
                allowance = _Allowance(min(admission.timeout_s, statement_s), deadline, admission.pacer)
                yield allowance, admission.answered if answered_at_begin else _nothing
        except PolicyError as error:
            raise error_of_policy(error) from error

    @asynccontextmanager
    async def _begun(self, begin: str, allowance: _Allowance, begun: Callable[[], None]) -> AsyncIterator[Transaction]:
        connection = await self._begin(begin, allowance)
        try:
            begun()
            tx = Transaction(connection, allowance)
            yield tx
            await tx.commit()
        except BaseException:
            await _roll_back(connection, allowance.rollback_s())
            raise
        finally:
            await self._release(connection)

    async def _begin(self, begin: str, allowance: _Allowance) -> Connection:
        connection = await self._acquire(allowance.statement_s())
        try:
            await _execute_begin(connection, begin, allowance)
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
            await _execute_begin(connection, begin, allowance)
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
            if timeout_s < self._limits.acquire_timeout_s:
                # A time-out like any other: a database that hangs is met here first, once the pool is all taken.
                raise DeadlineExceededError(detail, dependency=DEPENDENCY) from error
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


async def _execute_begin(connection: Connection, begin: str, allowance: _Allowance) -> None:
    timeout_s = allowance.statement_s()
    await connection.execute(begin.format(timeout_ms=_milliseconds(timeout_s)), timeout=timeout_s)


async def _roll_back(connection: Connection, timeout_s: float) -> None:
    try:
        await connection.execute("ROLLBACK", timeout=timeout_s)
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
