"""Many replicas capture leads side by side while they are killed, people come and go and rules change."""

import asyncio
import contextlib
import json
import random
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from breakwater.chassis.errors import BreakwaterError, UnavailableError
from services.leads.organisation.domain import Person
from services.leads.organisation.store import upsert_people
from services.leads.routing.rerouting import reroute_waiting_leads
from services.leads.routing.rulebook import PostgresRulesStore
from services.leads.routing.usecases import put_rules
from services.leads.routing.waiting import PostgresRerouteStore
from tests.assignment.audit import AUDITOR
from tests.assignment.worker import POINTS, Fate, KilledError, Replica, raise_killed

ROOT: Final = Path(__file__).parents[2]
STEWARD_EVERY_S: Final = 0.3
REFUSALS_MAX: Final = 500

PEOPLE: Final = (
    *(Person(f"p{number}", f"销售{number}", weight=1 + number % 3) for number in range(8)),
    Person("expert", "专家", skills=("制造业",), rank=5, open_leads_max=50),
    Person("desk-mate", "备岗", on_duty=False),
)
ROTATION: Final = {"id": "rotation", "target": {"kind": "team", "team_id": "sales", "match": ["region"]}}
DESK: Final = {"id": "desk", "target": {"kind": "duty_desk", "person_id": "duty-desk"}}
SKILL: Final = {
    "id": "skill",
    "priority": "P0",
    "when": [{"field": "industry", "op": "eq", "value": "制造业"}, {"field": "budget", "op": "gt", "value": 500_000}],
    "target": {"kind": "skill", "skill": "制造业"},
}


@dataclass(frozen=True)
class Where:
    """A migrated database of leads."""

    url: str
    password: str
    admin_dsn: str


@dataclass(frozen=True, kw_only=True)
class Round:
    """How much is done, by how many, with how many deaths."""

    leads: int
    processes: int
    lanes: int
    """Jobs each replica has in hand at a time."""
    kills: int
    job_leads_max: int = 40
    """Leads of one transaction, at most."""
    seed: int = 0
    bug: str = ""


@dataclass
class Seen:
    """What came of it."""

    told: dict[int, str] = field(default_factory=dict)
    """The id of each lead by its number."""
    killed: Counter[str] = field(default_factory=Counter)
    """Deaths by point."""
    changes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def hear(self, first: int, ids: Sequence[str]) -> None:
        for number, lead_id in enumerate(ids, start=first):
            if self.told.setdefault(number, lead_id) != lead_id:
                self.problems.append(f"lead {number} was told to be {self.told[number]}, then {lead_id}")


def jobs_of(round_: Round) -> list[tuple[int, int]]:
    """The leads in jobs of different lengths, shuffled: neighbours are one customer's."""
    rng = random.Random(round_.seed)
    jobs, first = [], 0
    while first < round_.leads:
        count = min(rng.randint(1, round_.job_leads_max), round_.leads - first)
        jobs.append((first, count))
        first += count
    rng.shuffle(jobs)
    return jobs


def fates_of(round_: Round) -> deque[tuple[str, int]]:
    """Where replicas die, one after the other: every point in turn, after a few jobs."""
    rng = random.Random(round_.seed + 1)
    jobs = max(2, round_.leads // round_.job_leads_max // (round_.processes + round_.kills))
    return deque((POINTS[number % len(POINTS)], rng.randint(1, jobs)) for number in range(round_.kills))


async def prepare(replica: Replica) -> None:
    """People and rules to begin with."""
    async with replica.database.transaction() as tx:
        await upsert_people(tx, PEOPLE)
    begin = partial(PostgresRulesStore.begin, replica.database, replica.snapshots)
    await put_rules(begin, AUDITOR, {"rules": [SKILL, ROTATION, DESK]}, 0, now=datetime.now(UTC))


class Steward:
    """Changes people and rules and routes anew what waits, as another replica does meanwhile."""

    def __init__(self, replica: Replica, seen: Seen, seed: int) -> None:
        self._replica = replica
        self._seen = seen
        self._rng = random.Random(seed)
        self._turn = 0

    async def run(self, every_s: float) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(BreakwaterError, OSError):
                await self.change()
            await asyncio.sleep(every_s)

    async def change(self) -> None:
        database, snapshots = self._replica.database, self._replica.snapshots
        self._turn += 1
        match self._turn % 4:
            case 0:
                entries = [SKILL, ROTATION | {"title": f"轮转{self._turn}"}, DESK]
                begin_rules = partial(PostgresRulesStore.begin, database, snapshots)
                await put_rules(begin_rules, AUDITOR, {"rules": entries}, 0, now=datetime.now(UTC))
                self._seen.changes["rules"] += 1
            case 1:
                person = self._rng.choice(PEOPLE[:8])
                async with database.transaction() as tx:
                    await upsert_people(tx, [replace(person, on_duty=self._rng.random() < 0.5)])
                self._seen.changes["people"] += 1
            case 2:
                async with database.transaction() as tx:
                    await upsert_people(tx, PEOPLE[:8])
                self._seen.changes["people"] += 1
            case _:
                begin = partial(PostgresRerouteStore.begin, database, snapshots)
                await reroute_waiting_leads(begin, now=datetime.now(UTC), limit=100)
                self._seen.changes["rerouted"] += 1


async def run_inside(where: Where, round_: Round) -> Seen:
    """A round whose replicas live in this process; kill -9 is the loss of what their transaction did."""
    seen, jobs, fates = Seen(), deque(jobs_of(round_)), fates_of(round_)
    replicas = [
        await Replica.open(where.url, where.password, size=round_.lanes, bug=round_.bug)
        for _ in range(round_.processes)
    ]
    await prepare(replicas[0])

    async def lane(replica: Replica) -> None:
        while jobs:
            first, count = jobs.popleft()
            if not replica.fate.point and fates:
                replica.fate = Fate(*fates.popleft(), die=raise_killed)
            try:
                await replica.take(first, count, partial(seen.hear, first))
            except KilledError:
                seen.killed[replica.fate.point] += 1
                replica.fate = Fate()
                jobs.append((first, count))
            except UnavailableError:
                # Transactions in each other's way: a bug may bring that too. Whoever asked asks again.
                seen.changes["refused"] += 1
                if seen.changes["refused"] > REFUSALS_MAX:
                    raise
                jobs.append((first, count))

    try:
        steward = Steward(replicas[-1], seen, round_.seed)
        lanes = asyncio.gather(*(lane(each) for each in replicas for _ in range(round_.lanes)))
        while not lanes.done():
            await steward.change()
            await asyncio.wait([lanes], timeout=STEWARD_EVERY_S)
        await lanes
    finally:
        for each in replicas:
            await each.database.close()
    return seen


@dataclass
class _Life:
    """A replica process and the jobs it has in hand."""

    stdin: asyncio.StreamWriter
    in_hand: dict[int, int] = field(default_factory=dict)


class Processes:
    """A round whose replicas are processes, killed with kill -9 at their points and started again."""

    def __init__(self, where: Where, round_: Round) -> None:
        self.seen = Seen()
        self._where = where
        self._round = round_
        self._jobs = deque(jobs_of(round_))
        self._fates = fates_of(round_)
        self._lives: list[_Life] = []

    async def run(self, *, beside: Callable[["Processes"], Coroutine[Any, Any, None]] | None = None) -> Seen:
        """Until all leads are told; `beside` runs meanwhile."""
        replica = await Replica.open(self._where.url, self._where.password, size=4)
        await prepare(replica)
        others = [asyncio.create_task(Steward(replica, self.seen, self._round.seed).run(STEWARD_EVERY_S))]
        if beside is not None:
            others.append(asyncio.create_task(beside(self)))
        try:
            await asyncio.gather(*(self._place() for _ in range(self._round.processes)))
        finally:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            await replica.database.close()
        for task in others:
            if not task.cancelled():
                task.result()
        return self.seen

    @property
    def is_done(self) -> bool:
        return not self._jobs and not any(life.in_hand for life in self._lives)

    async def _place(self) -> None:
        """One replica after another in the same place, until there is nothing left to do."""
        while not self.is_done:
            point, at = self._fates.popleft() if self._fates else ("", 0)
            code = await self._live(point, at)
            if code == -signal.SIGKILL:
                self.seen.killed[point] += 1
            elif code:
                self.seen.problems.append(f"a replica ended with {code}")
                return

    async def _live(self, point: str, at: int) -> int:
        order = {
            "url": self._where.url,
            "password": self._where.password,
            "lanes": self._round.lanes,
            "point": point,
            "at": at,
            "bug": self._round.bug,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.assignment.worker", json.dumps(order)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a replica without pipes")
        life = _Life(process.stdin)
        self._lives.append(life)
        try:
            self._give()
            while line := await process.stdout.readline():
                first, _, ids = json.loads(line)
                self.seen.hear(first, ids)
                life.in_hand.pop(first, None)
                self._give()
            return await process.wait()
        finally:
            self._lives.remove(life)
            # What a dead one had in hand is asked for again, by the same keys.
            self._jobs.extendleft(life.in_hand.items())
            self._give()

    def _give(self) -> None:
        """Jobs to whoever has room; an end to all where nothing is left."""
        for life in self._lives:
            while self._jobs and len(life.in_hand) < self._round.lanes and not life.stdin.is_closing():
                first, count = self._jobs.popleft()
                life.in_hand[first] = count
                life.stdin.write(json.dumps([first, count]).encode() + b"\n")
        if self.is_done:
            for life in self._lives:
                life.stdin.close()
