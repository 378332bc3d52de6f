"""Laying and lifting overrides: everywhere at once, by two ways, on the record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.chassis.identity import Actor
from services.gateway.ops.overrides.domain import OverrideOrder, order


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


class Record(Protocol):
    """The audit."""

    def override_set(self, what: OverrideOrder) -> None: ...

    def override_lifted(self, what: OverrideOrder) -> None: ...


@dataclass(slots=True)
class Overrides:
    """The verbs. Remembers what was laid through this process, to tell narrow from wide."""

    carrier: Carrier
    graph: Graph
    record: Record
    clock: Clock
    _laid: dict[tuple[str, str | None], OverrideOrder] = field(default_factory=dict)

    async def lay(
        self, actor: Actor, *, dependency: str, caller: str | None, mode: str, reason: str, ttl_s: float
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
        )
        delivery = await self._deliver(what)
        self._laid[dependency, caller] = what
        self.record.override_set(what)
        return what, delivery

    async def lift(self, actor: Actor, *, dependency: str, caller: str | None) -> Delivery:
        """Lifts the override of one caller's edge or, without caller, every override on the dependency."""
        self._must_exist(dependency, caller)
        now = self.clock.now()
        narrow = [key[1] for key in self._laid if key[0] == dependency and key[1] is not None]
        targets = [caller] if caller is not None else [None, *(narrow or sorted(self.graph.callers_of(dependency)))]
        deliveries = [await self._deliver(_lifting(dependency, target, actor.sub, now)) for target in targets]
        for target in targets:
            self._laid.pop((dependency, target), None)
        self.record.override_lifted(_lifting(dependency, caller, actor.sub, now))
        return deliveries[0]

    def is_wide(self, dependency: str, caller: str) -> bool:
        """Whether the override on this edge was laid for every caller, as far as this process knows."""
        return (dependency, caller) not in self._laid and (dependency, None) in self._laid

    def _must_exist(self, dependency: str, caller: str | None) -> None:
        callers = self.graph.callers_of(dependency)
        if not callers or (caller is not None and caller not in callers):
            raise NotFoundError("no process has reported such an edge")

    async def _deliver(self, what: OverrideOrder) -> Delivery:
        delivery = await self.carrier.deliver(what)
        if not delivery.in_bucket and not delivery.edges:
            raise UnavailableError("no process could be reached, and NATS neither", retry_after_s=1.0)
        return delivery


def _lifting(dependency: str, caller: str | None, actor: str, now: datetime) -> OverrideOrder:
    return OverrideOrder(dependency, caller, None, actor, "lifted", now, now)
