"""Plants mutants one by one, runs the gate over each for real, and judges the verdict by the mutant's own label."""

import asyncio
import itertools
import multiprocessing
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from breakwater.compat import artifacts, gate, world
from breakwater.compat.world import World
from tests.mutation import auth, compatible, differential, events, http, protos
from tests.mutation.mutant import ENVIRONMENT, Mutant, base, planted

DIMENSIONS = {"proto": protos.mutants, "auth": auth.mutants, "http": http.mutants, "events": events.mutants}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the gate said of one mutant."""

    mutant: str
    dimension: str
    compatible: bool
    exit_code: int
    verdict: str
    line: str
    named: bool
    """Whether the first line names the dimension and a consumer of the label."""
    took_s: float
    equivalent: bool = False
    """Not blocked, and shown to do the same by a differential run."""


def sampled(seed: int, counts: dict[str, int]) -> list[Mutant]:
    """A seeded choice: so many of each dimension, and of `compatible`, whose null mutants are always there."""
    chosen: list[Mutant] = []
    for dimension, count in counts.items():
        chooser = random.Random(f"{seed} {dimension}")
        every = list(compatible.mutants() if dimension == "compatible" else DIMENSIONS[dimension]())
        nulls = [mutant for mutant in every if mutant.compatible and not mutant.edits]
        rest = [mutant for mutant in every if mutant not in nulls]
        chosen += [*nulls, *chooser.sample(rest, min(len(rest), count - len(nulls)))]
    # Mixed, so that a run that is stopped has seen of everything.
    random.Random(seed).shuffle(chosen)
    return chosen


def run(
    mutants: Sequence[Mutant], workers: int, note: Callable[[Outcome], None], *, until_s: float = float("inf")
) -> list[Outcome]:
    """All mutants, in any order, by worker processes that each have a world of their own.

    After `until_s` of the monotonic clock no other one is begun.
    """
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    place = Path(tempfile.mkdtemp(prefix="breakwater-corpus-"))
    try:
        original = base(place / "base")
        waiting: Any = context.Queue()
        # What nobody took when the time was up need not be waited for.
        waiting.cancel_join_thread()
        for mutant in [*mutants, *(None for _ in range(workers))]:
            waiting.put(mutant)
        processes = [
            context.Process(target=_work, args=(original, place / str(index), waiting, results, until_s), daemon=True)
            for index in range(workers)
        ]
        for process in processes:
            process.start()
        return list(_gathered(results, processes, note))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _gathered(results: Any, processes: Sequence[Any], note: Callable[[Outcome], None]) -> Iterator[Outcome]:
    working = len(processes)
    while working:
        outcome = results.get(timeout=600)
        if outcome is None:
            working -= 1
            continue
        if isinstance(outcome, str):
            raise RuntimeError(f"a worker ended: {outcome}")  # noqa: TRY004 - it is no type that is wrong
        note(outcome)
        yield outcome
    for process in processes:
        process.join(30)


def _work(original: Path, place: Path, waiting: Any, results: Any, until_s: float) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def mutants() -> Iterator[Mutant]:
        # The clock is the machine's: the same for every process. A killed parent tells nobody that it is gone.
        while (mutant := waiting.get()) is not None and time.monotonic() < until_s and parent.is_alive():
            yield mutant

    try:
        asyncio.run(_examine_all(original, place, mutants(), results.put))
        results.put(None)
    except BaseException as error:  # noqa: BLE001 - the parent waits for a word
        results.put(f"{type(error).__name__}: {error}")


async def _examine_all(original: Path, place: Path, mutants: Iterable[Mutant], note: Callable[[Outcome], None]) -> None:
    looked: dict[str, gate.Looked] = {}
    async with world.opened() as opened:
        for number, mutant in enumerate(mutants):
            tree = place / str(number)
            try:
                note(await _examined(opened, original, tree, mutant, looked))
            finally:
                shutil.rmtree(tree, ignore_errors=True)


async def _examined(
    opened: World, original: Path, tree: Path, mutant: Mutant, looked: dict[str, gate.Looked]
) -> Outcome:
    planted(original, tree, mutant)
    if mutant.service not in looked:
        looked[mutant.service] = gate.look_at_protos(original, mutant.service, _deployment(original))
    began_s = time.monotonic()
    report = await gate.examine(
        tree, mutant.service, ENVIRONMENT, opened,
        looked=None if mutant.touches_protos else looked[mutant.service], whole=mutant.compatible,
    )  # fmt: skip
    took_s = time.monotonic() - began_s
    line = report.first_line()
    outcome = Outcome(
        mutant.name, mutant.dimension, mutant.compatible, report.exit_code(), str(report.verdict()), line,
        named=is_named(line, mutant), took_s=took_s,
    )  # fmt: skip
    if mutant.dimension == "auth" and not mutant.compatible and outcome.exit_code == 0:
        messages = looked[mutant.service][1]
        return replace(outcome, equivalent=await differential.alike(opened, original, tree, mutant.service, messages))
    return outcome


def is_named(line: str, mutant: Mutant) -> bool:
    """Whether a first line has the dimension of the label, and one of its consumers for its subject.

    `NO: files -> prod. BREAKING auth: gateway 0.1.0, ops 0.1.0: sends ...`
    """
    judged, _, rest = line.partition(f"-> {ENVIRONMENT}. ")[2].partition(": ")
    subjects = {re.sub(r" [\d.]+$", "", each) for each in rest.partition(": ")[0].split(", ")}
    return judged.endswith(f" {mutant.dimension}") and not subjects.isdisjoint(mutant.consumers)


def _deployment(root: Path) -> gate.Deployment:
    lock = root / "deploy/lock.yaml"
    return gate.Deployment(
        {name: artifacts.deployed(root / "contracts", lock, ENVIRONMENT, name) for name in sorted(gate.SERVICES)}
    )


def table(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """The kill table: by dimension, how many, blocked, equivalent, named right."""
    rows: dict[str, dict[str, int]] = {}
    for dimension, group in itertools.groupby(sorted(outcomes, key=_row), key=_row):
        every = list(group)
        blocked = [each for each in every if each.exit_code != 0]
        rows[dimension] = {
            "mutants": len(every),
            "blocked": len(blocked),
            "equivalent": sum(each.equivalent for each in every),
            "named": sum(each.named for each in blocked),
        }
    return rows


def _row(outcome: Outcome) -> str:
    return "compatible" if outcome.compatible else outcome.dimension
