"""What is done to the world: one fault of a class at a place, drawn from a seed, and what an engineer would call its cause."""

import random
from dataclasses import dataclass
from typing import Final

from breakwater.resilience.errors import OverloadedError
from tests.rootcause.world import FailedError, Pair, RefusedError, Treatment, World

CLASSES: Final = ("down", "slow", "flapping", "gray", "replica", "credential", "overload")
"""Of one edge; `shared` and `stopped` are of a node."""
GRAY_SHARE: Final = 0.1


@dataclass(slots=True)
class Trouble:
    """A fault at an edge, or, with an empty caller, at whatever everybody calls by this name."""

    kind: str
    caller: str
    dependency: str
    how: str
    """The variant drawn: such as refused or hanging."""
    times: float = 1.0
    share: float = 1.0
    period_s: float = 0.0
    replica: int = 0
    began_s: float = 0.0
    over: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind} ({self.how}) at {self.caller or '*'}->{self.dependency}"

    def roots(self, world: World) -> set[Pair]:
        """The edges of which one must be named as the cause."""
        if self.caller:
            return {(self.caller, self.dependency)}
        return {pair for pair in world.pairs if pair[1] == self.dependency}

    def __call__(self, world: World, caller: str, number: int, dependency: str, replica: int) -> Treatment | None:
        """What it does to an attempt."""
        if not self._meets(world, caller, number, dependency, replica) or world.rng.random() >= self.share:
            return None
        if self.how == "hanging":
            return Treatment(hangs=True)
        if self.how == "slow":
            limit_s = world.settings_of((caller, dependency)).slow_call_s
            return Treatment(extra_s=limit_s * self.times * world.rng.uniform(0.9, 1.2))
        pushed_back = OverloadedError(caller, dependency, "it pushed back", retry_after_s=0.3)
        errors: dict[str, Exception] = {"credential": RefusedError(), "overload": pushed_back}
        return Treatment(error=errors.get(self.kind, FailedError()))

    def _meets(self, world: World, caller: str, number: int, dependency: str, replica: int) -> bool:
        if self.over or dependency != self.dependency or (self.caller and caller != self.caller):
            return False
        if self.kind == "flapping":
            return int((world.loop.now_s - self.began_s) / self.period_s) % 2 == 0
        if self.kind == "replica":
            return self.replica == (number if self.how == "of the caller" else replica)
        return True

    def begin(self, world: World) -> None:
        self.began_s = world.loop.now_s
        if self.kind == "stopped":
            for each in world.processes[self.dependency]:
                each.alive = False
        else:
            world.weather.append(self)

    def end(self, world: World) -> None:
        self.over = True
        for each in world.processes.get(self.dependency, ()):
            each.alive = True


def at_edge(kind: str, pair: Pair, world: World, rng: random.Random) -> Trouble:
    """A fault of the class at the edge."""
    caller, dependency = pair
    hows = {"slow": ("slow",), "gray": ("refused", "slow"), "overload": ("pushed back",), "credential": ("refused",)}
    if kind == "replica":
        several = {
            "of the caller": world.replicas_of(caller) > 1,
            "of the dependency": world.replicas_of(dependency) > 1,
        }
        hows[kind] = tuple(how for how, there_are in several.items() if there_are)
    how = rng.choice(hows.get(kind, ("refused", "hanging")))
    return Trouble(
        kind,
        caller,
        dependency,
        how,
        times=1.5 if kind == "gray" else rng.uniform(1.1, 2.5),
        share={"gray": GRAY_SHARE, "overload": rng.uniform(0.3, 0.9)}.get(kind, 1.0),
        period_s=rng.uniform(8, 25),
        replica=rng.randrange(max(1, world.replicas_of(caller if how == "of the caller" else dependency))),
    )


def has_several(pair: Pair, world: World) -> bool:
    """Whether one replica of several can fail at the edge, on either side."""
    return max(world.replicas_of(pair[0]), world.replicas_of(pair[1])) > 1


def at_node(kind: str, dependency: str, rng: random.Random) -> Trouble:
    """A fault of what several callers share."""
    how = rng.choice(("refused", "hanging", "slow", "gray")) if kind == "shared" else "gone"
    share = GRAY_SHARE if how == "gray" else 1.0
    return Trouble(kind, "", dependency, how, times=rng.uniform(1.1, 2.5), share=share)
