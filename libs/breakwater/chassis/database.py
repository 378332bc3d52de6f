"""PostgreSQL: a bounded pool, one transaction per request, the deadline handed on as `statement_timeout`.

Failures arrive as `chassis.errors` with `dependency="postgres"`; a unique violation as `UniqueViolationError`, which
stores may expect.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import asyncpg

from breakwater.chassis.errors import DeadlineExceededError, UnavailableError
from breakwater.chassis.policies import error_of_policy
from breakwater.chassis.sqlerrors import (
    DEPENDENCY,
    DRIVER_ERRORS,
    UniqueViolationError,
    classify,
    connection_lost,
    injected,
    translated,
)
from breakwater.chassis.statements import (
    ROLLBACK_TIMEOUT_S,
    Allowance,
    AutocommitReader,
    Connection,
    Reader,
    Transaction,
    gone,
    terminate,
)
from breakwater.resilience import Policy, PolicyError, current_deadline
from breakwater.resilience.faults import FaultKind

__all__ = ["Database", "PoolLimits", "Reader", "Transaction", "UniqueViolationError", "classify"]


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
            reader = AutocommitReader(await self._acquire(allowance.statement_s()), allowance, self._replace)
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
    ) -> AsyncIterator[tuple[Allowance, Callable[[], None]]]:
        """Yields the time the work may take, and what to call when it has begun."""
        deadline, statement_s = current_deadline.get(), self._limits.statement_timeout_s
        if self._policy is None:
            yield Allowance(statement_s, deadline), _nothing
            return
        try:
            async with self._policy.admit() as admission:
                if admission.fault is not None:
                    raise injected(admission.fault.code)
                allowance = Allowance(min(admission.timeout_s, statement_s), deadline, admission.pacer)
                yield allowance, admission.answered if answered_at_begin else _nothing
        except PolicyError as error:
            raise error_of_policy(error) from error

    @asynccontextmanager
    async def _begun(self, begin: str, allowance: Allowance, begun: Callable[[], None]) -> AsyncIterator[Transaction]:
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

    async def _begin(self, begin: str, allowance: Allowance) -> Connection:
        connection = await self._acquire(allowance.statement_s())
        try:
            await _execute_begin(connection, begin, allowance)
        except DRIVER_ERRORS as error:
            if not (gone(connection) or connection_lost(error)):
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
            await self._pool.release(connection, timeout=ROLLBACK_TIMEOUT_S)

    async def _abandon(self, connection: Connection) -> None:
        terminate(connection)
        await self._release(connection)


async def _execute_begin(connection: Connection, begin: str, allowance: Allowance) -> None:
    timeout_s = allowance.statement_s()
    await connection.execute(begin.format(timeout_ms=_milliseconds(timeout_s)), timeout=timeout_s)


async def _roll_back(connection: Connection, timeout_s: float) -> None:
    try:
        await connection.execute("ROLLBACK", timeout=timeout_s)
    except BaseException as error:
        # Its state is unknown: another request must not get it.
        terminate(connection)
        if not isinstance(error, DRIVER_ERRORS):
            raise


async def _nothing_to_reset(_connection: Any) -> None:
    """Stands for the driver's own reset."""


def _nothing() -> None:
    """Where no policy listens."""


def _milliseconds(seconds: float) -> int:
    # 0 would mean without a limit.
    return max(1, round(seconds * 1000))
