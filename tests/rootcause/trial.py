"""One trial: the world is well, a fault comes, somebody is called or not, it is cured, and it must be over."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from services.gateway.ops.edges.domain import Changes, EdgeBook, Report
from services.gateway.ops.incidents.domain import Action, Incident
from services.gateway.ops.incidents.usecases import Incidents
from tests.rootcause.faults import Trouble
from tests.rootcause.world import World

WARM_S: Final = 60.0
FAULT_S: Final = 75.0
NOTICED_S_MAX: Final = 900.0
"""A tenth of failing calls takes some 260 calls to be certain of; at 0.5/s that is nine minutes."""
CURED_S_MAX: Final = 900.0
TICK_S: Final = 0.5


Make = Callable[[World, random.Random], Trouble]


class Unwritten:
    """A record that nobody reads."""

    def incident_changed(self, incident: Incident, what: str) -> None:
        """Nowhere."""

    def incident_acted_on(self, incident: Incident, action: Action) -> None:
        """Nowhere."""

    def changes_between(self, start: datetime, end: datetime, names: Collection[str]) -> tuple[str, ...]:
        """Nothing was changed."""
        return ()


class Ops:
    """One replica of the ops process, from the book of edges on; it looks at moments of its own."""

    def __init__(self, world: World, phase_s: float) -> None:
        self.book = EdgeBook()
        self.incidents = Incidents(Unwritten(), world.clock)
        self.pages: list[tuple[datetime, Incident]] = []
        """Each time somebody is called."""
        self._world = world
        self._seen: dict[str, int] = {}
        world.loop.call_later(phase_s, self._tick)

    def take(self, report: Report) -> None:
        """A process told of its edges."""
        changes = self.book.take(report, self._world.clock.monotonic())
        self.incidents.observe(report)
        self._follow(changes)

    def _tick(self) -> None:
        self._follow(self.book.settle(self._world.clock.monotonic()))
        self._judge()
        self._world.loop.call_later(TICK_S, self._tick)

    def _follow(self, changes: Changes) -> None:
        self.incidents.follow(changes)
        if changes.moved:
            self._judge()

    def _judge(self) -> None:
        self.incidents.judge()
        for incident in self.incidents.open():
            if incident.pages > self._seen.get(incident.id, 0):
                self._seen[incident.id] = incident.pages
                self.pages.append((self._world.clock.now(), incident))


@dataclass(slots=True)
class Verdict:
    """What a trial came to."""

    seed: int
    faults: tuple[str, ...]
    named: list[str] = field(default_factory=list)
    """The titles of the pages, in order."""
    noticed_s: float | None = None
    at_once: bool = False
    """Every fault was named while all of them lasted."""
    first_right: bool = False
    pages: int = 0
    classes: tuple[str, ...] = ()
    same_ids: bool = True
    resolved: bool = False

    @property
    def well(self) -> bool:
        """Whether it came to what it must."""
        return self.first_right and self.one_page_each and self.same_ids and self.resolved

    @property
    def one_page_each(self) -> bool:
        return self.pages == len(self.faults)


def world_with_ops(seed: int, replicas: int = 2, **how: Any) -> tuple[World, list[Ops]]:
    """A world that begins, and the ops processes that hear it, each looking at other moments."""
    listeners: list[Ops] = []

    def hear(report: Report) -> None:
        for each in listeners:
            each.take(report)

    world = World(seed, hear, **how)
    listeners += [Ops(world, TICK_S * (number + 1) / replicas) for number in range(replicas)]
    world.begin()
    return world, listeners


def quiet(seed: int, hours: float) -> dict[str, Any]:
    """Hours in which one call in a hundred fails at every edge, and nothing else happens: calls, errors, and pages."""
    world, (ops,) = world_with_ops(seed, 1, rates_times=0.25, report_s=4.0)
    world.run(hours * 3600)
    pages = [f"{at:%H:%M:%S} {incident.title}" for at, incident in ops.pages]
    return {"calls": world.calls, "errors": world.errors, "pages": pages}


def run(seed: int, make: Sequence[Make]) -> Verdict:
    """Lets the faults happen and cures them; the deeper one first, because what hides behind it shows only then."""
    world, (ops, other) = world_with_ops(seed)
    rng = random.Random(seed)
    troubles: list[Trouble] = [each(world, rng) for each in make]
    verdict = Verdict(seed, tuple(each.name for each in troubles))
    world.run(WARM_S)
    before = len(ops.pages)
    for each in troubles:
        each.begin(world)
    began_s = world.loop.now_s
    while world.loop.now_s < began_s + FAULT_S or (
        not _all_named(world, ops, troubles) and world.loop.now_s < began_s + NOTICED_S_MAX
    ):
        world.run(1.0)
        if verdict.noticed_s is None and ops.pages:
            verdict.noticed_s = world.loop.now_s - began_s
    ranked = ops.incidents.open()
    verdict.first_right = bool(ranked) and any(_is_right(ranked[0], each, world) for each in troubles)
    verdict.at_once = _all_named(world, ops, troubles)
    verdict.classes = tuple(each.cause.fault.value for each in ranked)
    # What hid behind a deeper fault shows once that one is cured: each is cured when it was named.
    for each in sorted(troubles, key=lambda each: -_depth(world, each)):
        deadline_s = world.loop.now_s + NOTICED_S_MAX
        while not _all_named(world, ops, [each]) and world.loop.now_s < deadline_s:
            world.run(1.0)
        each.end(world)
    cured_s = world.loop.now_s
    while ops.incidents.open() and world.loop.now_s < cured_s + CURED_S_MAX:
        world.run(5.0)
    verdict.resolved = not ops.incidents.open()
    verdict.pages = len(ops.pages) - before
    verdict.named = [incident.title for _, incident in ops.pages]
    named = {incident.id for incident in ops.incidents.all()}
    verdict.same_ids = named == {incident.id for incident in other.incidents.all()}
    every = ops.incidents.all()
    if not all(any(_is_right(incident, each, world) for incident in every) for each in troubles):
        verdict.first_right = False
    return verdict


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a trial of two faults, one soon after the other, came to."""

    pages: tuple[str, ...]
    """Root dependencies, in the order of the pages."""
    noticed_s: float | None
    """Of the second fault."""


def aftermath(seed: int, brief: Make, own: Make) -> Aftermath:
    """A brief outage that opens no circuit, little traffic, and 20 s later an edge that it dragged along fails by itself."""
    world, (ops, _) = world_with_ops(seed, error_share=0.0, report_s=1.0)
    rng = random.Random(seed)
    world.run(WARM_S)
    outage, trouble = brief(world, rng), own(world, rng)
    outage.begin(world)
    world.run(4.0)
    outage.end(world)
    world.run(5.0)
    world.rates_times = 0.1
    world.run(15.0)
    world.rates_times = 1.0
    trouble.begin(world)
    began_s, noticed_s = world.loop.now_s, None
    while world.loop.now_s < began_s + FAULT_S:
        world.run(1.0)
        if noticed_s is None and _all_named(world, ops, [trouble]):
            noticed_s = world.loop.now_s - began_s
    return Aftermath(tuple(incident.cause.dependency for _, incident in ops.pages), noticed_s)


def _all_named(world: World, ops: Ops, troubles: Sequence[Trouble]) -> bool:
    every = ops.incidents.all()
    return all(any(_is_right(incident, each, world) for incident in every) for each in troubles)


def _is_right(incident: Incident, trouble: Trouble, world: World) -> bool:
    """Whether the edge named as the root is where the fault is."""
    return (incident.cause.caller, incident.cause.dependency) in trouble.roots(world) or (
        bool(trouble.caller) and (trouble.caller, trouble.dependency) in incident.cause.roots
    )


def _depth(world: World, trouble: Trouble) -> int:
    return 0 if trouble.dependency in world.processes else 1
