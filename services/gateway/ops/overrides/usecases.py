"""Laying and lifting overrides: everywhere at once, by two ways, on the record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.chassis.identity import Actor
from services.gateway.ops.edges.domain import Edge, Fault
from services.gateway.ops.overrides.domain import OverrideOrder, order, undelivered

SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where an order arrived: edges changed by process, processes that did not answer, and the shared bucket."""

    edges: Mapping[str, int]
    unreached: tuple[str, ...]
    in_bucket: bool


class Carrier(Protocol):
    """Brings an order to every process: directly, and through the shared bucket for those that come later."""

    async def deliver(self, what: OverrideOrder) -> Delivery: ...


class Graph(Protocol):
    """The edges that are known."""

    def callers_of(self, dependency: str) -> frozenset[str]: ...

    def edges(self) -> tuple[Edge, ...]: ...


class Record(Protocol):
    """The audit."""

    def override_set(self, what: OverrideOrder) -> None: ...

    def override_lifted(self, what: OverrideOrder) -> None: ...


@dataclass(slots=True)
class Overrides:
    """The verbs. Remembers what was laid and lifted through this process until it would have ended by itself."""

    carrier: Carrier
    graph: Graph
    record: Record
    clock: Clock
    process: str
    """The name of this process: what is laid for every caller is not meant for it."""
    chaos_allowed: bool = False
    _given: dict[tuple[str, str | None], OverrideOrder] = field(default_factory=dict)

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
        self._given[dependency, caller] = what
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
        self._given.update({(dependency, lifting.caller): lifting for lifting in liftings})
        self.record.override_lifted(liftings[0])
        return deliveries[0]

    async def settle(self) -> None:
        """Brings what is in force to processes that started since; forgets what has ended."""
        now = self.clock.now()
        self._given = {key: order for key, order in self._given.items() if order.expires_at > now}
        for what in undelivered(self._given.values(), self.graph.edges(), laid_by=self.process):
            await self.carrier.deliver(what)

    async def run(self) -> None:
        """Settles every second, for as long as it is awaited."""
        while True:
            await self.settle()
            await self.clock.sleep(SETTLE_S)

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
        return delivery

    def _lifting(self, dependency: str, caller: str | None, actor: str, now: datetime) -> OverrideOrder:
        laid = self._given.get((dependency, caller))
        return OverrideOrder(dependency, caller, None, actor, "lifted", now, laid.expires_at if laid else now)
