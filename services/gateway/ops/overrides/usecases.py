"""Laying and lifting overrides: everywhere at once, by two ways, on the record."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.chassis.identity import Actor
from services.gateway.ops.edges.domain import Edge, Fault
from services.gateway.ops.overrides.domain import OverrideOrder, order, undelivered

SETTLE_S = 1.0

Key = tuple[str, str | None]
"""Dependency and caller."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where an order arrived: edges changed by process, processes that did not answer, and the shared bucket."""

    edges: Mapping[str, int]
    unreached: tuple[str, ...]
    in_bucket: bool


class Carrier(Protocol):
    """Brings an order to every process: directly, and through the shared bucket for those that come later."""

    async def deliver(self, what: OverrideOrder) -> Delivery: ...

    async def keep(self, what: OverrideOrder) -> bool: ...


class Memory(Protocol):
    """Keeps orders over a restart of this process, until they end; raises `UnavailableError` while it cannot."""

    async def load(self) -> Sequence[OverrideOrder]: ...

    async def save(self, orders: Sequence[OverrideOrder]) -> None: ...


class Graph(Protocol):
    """The edges that are known."""

    def callers_of(self, dependency: str) -> frozenset[str]: ...

    def edges(self) -> tuple[Edge, ...]: ...


class Record(Protocol):
    """The audit."""

    def override_set(self, what: OverrideOrder) -> None: ...

    def override_lifted(self, what: OverrideOrder) -> None: ...

    def override_kept(self, what: OverrideOrder) -> None: ...


@dataclass(slots=True)
class Overrides:
    """The verbs. Remembers what was laid and lifted until it would have ended by itself, also over a restart."""

    carrier: Carrier
    memory: Memory
    graph: Graph
    record: Record
    clock: Clock
    process: str
    """The name of this process: what is laid for every caller is not meant for it."""
    chaos_allowed: bool = False
    _given: dict[Key, OverrideOrder] = field(default_factory=dict)
    _outside: set[Key] = field(default_factory=set)
    """What NATS does not keep, as far as this process knows."""
    _unsaved: set[Key] = field(default_factory=set)

    async def lay(
        self,
        actor: Actor,
        *,
        dependency: str,
        caller: str | None,
        mode: str,
        reason: str,
        ttl_s: float,
        fault: Fault | None = None,
    ) -> tuple[OverrideOrder, Delivery]:
        """Lays an override. Raises `NotFoundError` for an edge nobody has, `InvalidRequestError`, `UnavailableError`."""
        self._must_exist(dependency, caller)
        what = order(
            dependency=dependency,
            caller=caller,
            mode=mode,
            actor=actor.sub,
            reason=reason,
            ttl_s=ttl_s,
            now=self.clock.now(),
            fault=fault,
            chaos_allowed=self.chaos_allowed,
        )
        delivery = await self._deliver(what)
        self.record.override_set(what)
        return what, delivery

    async def lift(self, actor: Actor, *, dependency: str, caller: str | None) -> Delivery:
        """Lifts the override of one caller's edge or, without caller, every override on the dependency."""
        self._must_exist(dependency, caller)
        now = self.clock.now()
        narrow = [key[1] for key in self._given if key[0] == dependency and key[1] is not None]
        targets = [caller] if caller is not None else [None, *(narrow or sorted(self.graph.callers_of(dependency)))]
        liftings = [self._lifting(dependency, target, actor.sub, now) for target in targets]
        deliveries = [await self._deliver(lifting) for lifting in liftings]
        self.record.override_lifted(liftings[0])
        return deliveries[0]

    async def settle(self) -> None:
        """Brings what is in force to NATS, and to processes that started since; forgets what has ended."""
        now = self.clock.now()
        self._given = {key: order for key, order in self._given.items() if order.expires_at > now}
        self._outside &= self._given.keys()
        for key in tuple(self._outside):
            what = self._given[key]
            if await self.carrier.keep(what) and self._given.get(key) is what:
                self._outside.discard(key)
                self.record.override_kept(what)
        for what in undelivered(self._given.values(), self.graph.edges(), laid_by=self.process):
            await self.carrier.deliver(what)

    async def run(self) -> None:
        """Settles every second, for as long as it is awaited."""
        while True:
            await self.settle()
            await self.clock.sleep(SETTLE_S)

    async def remember(self) -> None:
        """Recalls what was given before this process started, then saves what is given; for as long as it is awaited."""
        recalled = False
        while True:
            # Out, the memory is an edge of this process like any other: shown, and tried again.
            with suppress(UnavailableError):
                if not recalled:
                    self._recall(await self.memory.load())
                    recalled = True
                if saving := {key: self._given[key] for key in self._unsaved if key in self._given}:
                    await self.memory.save(tuple(saving.values()))
                self._unsaved -= {key for key in self._unsaved if self._given.get(key) is saving.get(key)}
            await self.clock.sleep(SETTLE_S)

    def _recall(self, orders: Sequence[OverrideOrder]) -> None:
        for what in orders:
            key = (what.dependency, what.caller)
            if key not in self._given or self._given[key].set_at < what.set_at:
                self._given[key] = what
                # Whether NATS has it is not known: it is told again.
                self._outside.add(key)

    def is_wide(self, dependency: str, caller: str) -> bool:
        """Whether the override on this edge was laid for every caller, as far as this process knows."""
        return not self._is_laid(dependency, caller) and self._is_laid(dependency, None)

    def _is_laid(self, dependency: str, caller: str | None) -> bool:
        order = self._given.get((dependency, caller))
        return order is not None and order.mode is not None

    def _must_exist(self, dependency: str, caller: str | None) -> None:
        callers = self.graph.callers_of(dependency)
        if not callers or (caller is not None and caller not in callers):
            raise NotFoundError("no process has reported such an edge")

    async def _deliver(self, what: OverrideOrder) -> Delivery:
        delivery = await self.carrier.deliver(what)
        if not delivery.in_bucket and not delivery.edges:
            raise UnavailableError("no process could be reached, and NATS neither", retry_after_s=1.0)
        key = (what.dependency, what.caller)
        self._given[key] = what
        self._unsaved.add(key)
        (self._outside.discard if delivery.in_bucket else self._outside.add)(key)
        return delivery

    def _lifting(self, dependency: str, caller: str | None, actor: str, now: datetime) -> OverrideOrder:
        laid = self._given.get((dependency, caller))
        return OverrideOrder(dependency, caller, None, actor, "lifted", now, laid.expires_at if laid else now)
