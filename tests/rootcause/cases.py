"""The faults of a proof, drawn from a seed: every edge under every class, what many share, stopped processes, random pairs."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.rootcause import faults
from tests.rootcause.faults import CLASSES, Trouble
from tests.rootcause.trial import Make
from tests.rootcause.world import World

PAIRS: Final = 40
SHARED_TIMES: Final = 5
"""Each shared dependency fails so often, in ways drawn anew."""


@dataclass(frozen=True, slots=True)
class Case:
    """One trial to be made."""

    seed: int
    kind: str
    make: tuple[Make, ...]


def every_case(seed: int) -> list[Case]:
    """In an order drawn from the seed, so that a part of them is a fair sample."""
    world = World(seed, lambda _: None)
    cases = [Case(seed + number, kind, make) for number, (kind, make) in enumerate(_cases(world, random.Random(seed)))]
    random.Random(seed).shuffle(cases)
    return cases


def shared(world: World) -> list[str]:
    """What several processes call and none of them is."""
    called = [dependency for _, dependency in world.pairs if dependency not in world.processes]
    return sorted({each for each in called if called.count(each) > 1})


def _cases(world: World, rng: random.Random) -> Iterator[tuple[str, tuple[Make, ...]]]:
    single = [
        (kind, partial(_at_edge, kind, pair))
        for pair in world.pairs
        for kind in CLASSES
        if kind != "replica" or faults.has_several(pair, world)
    ]
    for kind, make in single:
        yield kind, (make,)
    for dependency in shared(world):
        for _ in range(SHARED_TIMES):
            yield "shared", (partial(_at_node, "shared", dependency),)
    for name in sorted(world.processes):
        # Nobody calls the watcher.
        if any(pair[1] == name for pair in world.pairs):
            yield "stopped", (partial(_at_node, "stopped", name),)
    for _ in range(PAIRS):
        # One edge twice is one fault.
        chosen = rng.sample(world.pairs, 2)
        kinds = rng.choices(CLASSES, k=2)
        yield "pair", tuple(partial(_at_edge, kind, pair) for kind, pair in zip(kinds, chosen, strict=True))


def _at_edge(kind: str, pair: tuple[str, str], world: World, rng: random.Random) -> Trouble:
    if kind == "replica" and not faults.has_several(pair, world):
        kind = "down"
    return faults.at_edge(kind, pair, world, rng)


def _at_node(kind: str, dependency: str, _: World, rng: random.Random) -> Trouble:
    return faults.at_node(kind, dependency, rng)
