"""Taking in signals: from callers, and from what other services publish."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role
from services.health.scoring.domain import Health, Model
from services.health.scoring.usecases import Scores, rescore
from services.health.signals.domain import Signal, signal


@dataclass(frozen=True, slots=True)
class Request:
    """A caller's signal in the caller's words, with what tells the request from its replay."""

    signal_id: str
    customer_id: str
    kind: str
    value: str
    occurred_at: datetime | None
    key: str
    body_hmac: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """The signal as stored, the score after it, and whether this was a replay."""

    signal: Signal
    health: Health
    replayed: bool = False


class SignalsTransaction(Scores, Protocol):
    """Signals and scores within the transaction of one request."""

    async def replay(self) -> Recorded | None:
        """The first answer to the request's Idempotency-Key."""
        ...

    async def remember(self, recorded: Recorded) -> None:
        """Keeps the answer for replays."""
        ...

    async def visible(self, actor: Actor, customer_id: str) -> bool: ...

    async def add(self, signals: Sequence[Signal]) -> None:
        """Stores each signal once by its id."""
        ...


class SignalTransactions(Protocol):
    """Opens a transaction for one request."""

    def signals(self, actor: Actor, key: str, body_hmac: bytes) -> AbstractAsyncContextManager[SignalsTransaction]: ...


@dataclass(frozen=True, slots=True)
class RecordSignals:
    """The writing verb."""

    transactions: SignalTransactions
    model: Model
    kinds: frozenset[str]
    clock: Clock

    async def record(self, actor: Actor, request: Request) -> Recorded:
        """Stores a caller's signal and scores the customer in the same transaction (18).

        Raises `InvalidRequestError`, `NotFoundError` (also for another's customer), `PermissionDeniedError`,
        `IdempotencyMismatchError`.
        """
        if actor.role in {Role.ONCALL, Role.SRE}:
            raise PermissionDeniedError("operators record no signals")
        now = self.clock.now()
        new = signal(
            signal_id=request.signal_id,
            customer_id=request.customer_id,
            kind=request.kind,
            value=request.value,
            occurred_at=request.occurred_at,
            kinds=self.kinds,
            now=now,
        )
        async with self.transactions.signals(actor, request.key, request.body_hmac) as tx:
            first = await tx.replay()
            if first is not None:
                return first
            if not await tx.visible(actor, new.customer_id):
                raise NotFoundError("no such customer")
            await tx.add([new])
            health = (await rescore(tx, self.model, [new.customer_id], now))[new.customer_id]
            recorded = Recorded(new, health)
            await tx.remember(recorded)
        return recorded
