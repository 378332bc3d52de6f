"""A replica that captures leads, and dies where it is told to: `python -m tests.assignment.worker`.

It reads jobs as lines of JSON, takes several at a time through the real use case and store, and tells each on a line of its
own once it is committed. Killed in between, it leaves whatever it leaves.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from breakwater.chassis.database import Database, PoolLimits
from breakwater.chassis.errors import BreakwaterError
from services.leads.idempotence import Keyed
from services.leads.intake.capture import CaptureBatch
from services.leads.intake.customers import Customer
from services.leads.intake.domain import LeadDraft, normalise
from services.leads.intake.store import PostgresCaptureStore
from services.leads.intake.usecases import CreateRequest, create_leads
from services.leads.routing.domain import Ledger
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots, read_ledger
from services.leads.sla.calendars import load_holidays

HOLIDAYS: Final = Path(__file__).parents[2] / "services/leads/sla/holidays.yaml"
POINTS: Final = ("keys claimed", "ledger locked", "written", "answers kept", "committed")
"""Where a replica can be killed; the last is before anybody is told."""
BUGS: Final = ("ledger-not-locked", "customers-not-locked", "keys-forgotten", "told-before-commit")
"""What a wrong replica does; the audit must find each."""
TRIES_MAX: Final = 400
PAUSE_S: Final = 0.1


class KilledError(Exception):
    """Stands for kill -9 where a replica is no process: its transaction is gone."""


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_killed() -> None:
    raise KilledError


@dataclass
class Fate:
    """At the `at`-th time that it passes `point`, the replica dies."""

    point: str = ""
    at: int = 0
    die: Callable[[], None] = kill_this_process
    passed: Counter[str] = field(default_factory=Counter)

    def passes(self, point: str) -> None:
        self.passed[point] += 1
        if point == self.point and self.passed[point] == self.at:
            self.die()


@dataclass
class Replica:
    """What one leads process has, with its fate and its bug."""

    database: Database
    fate: Fate = field(default_factory=Fate)
    bug: str = ""
    snapshots: Snapshots = field(default_factory=lambda: Snapshots(load_holidays(HOLIDAYS)))

    @classmethod
    async def open(cls, url: str, password: str, *, size: int, fate: Fate | None = None, bug: str = "") -> "Replica":
        limits = PoolLimits(size_max=size, acquire_timeout_s=20)
        database = await Database.open(url, service="leads", password=password, limits=limits)
        return cls(database, fate or Fate(), bug)

    async def take(self, first: int, count: int, tell: Callable[[list[str]], None]) -> None:
        """Captures the leads `first` to `first + count`, each by its key, and tells their ids."""
        store = partial(_store_of(self, tell).begin, self.database, self.snapshots)
        requests = [request_of(number) for number in range(first, first + count)]
        answers = await create_leads(
            store, requests, now=datetime.now(UTC), encode=lambda _, captured, __: captured.lead_id.encode()
        )
        self.fate.passes("committed")
        refused = [answer for answer in answers if isinstance(answer, BreakwaterError)]
        if refused:
            raise refused[0]
        if self.bug != "told-before-commit":
            tell([answer.content.decode() for answer in answers if not isinstance(answer, BreakwaterError)])


def _store_of(replica: Replica, tell: Callable[[list[str]], None]) -> type[PostgresCaptureStore]:
    """The real store, which passes the points of the replica's fate, with its bug."""
    fate = replica.fate

    class Watched(PostgresCaptureStore):
        async def claim_keys(self, claims: Mapping[str, str]) -> dict[str, str]:
            claimed = await super().claim_keys(claims)
            fate.passes("keys claimed")
            return claimed

        async def lock_ledger(self) -> tuple[Snapshot, Ledger]:
            locked = await super().lock_ledger()
            fate.passes("ledger locked")
            return locked

        async def write(self, batch: CaptureBatch) -> None:
            await super().write(batch)
            fate.passes("written")

        async def keep_answers(self, answers: Sequence[tuple[Keyed, bytes]]) -> None:
            if replica.bug == "told-before-commit":
                tell([content.decode() for _, content in answers])
            await super().keep_answers(answers)
            fate.passes("answers kept")

    return _BROKEN.get(replica.bug, lambda store: store)(Watched)


def _without_the_ledgers_lock(store: type[PostgresCaptureStore]) -> type[PostgresCaptureStore]:
    class Broken(store):  # type: ignore[misc, valid-type]
        async def lock_ledger(self) -> tuple[Snapshot, Ledger]:
            snapshot, ledger = await self._snapshots.current(self._tx), await read_ledger(self._tx)
            ledger.ground = snapshot.ground
            return snapshot, ledger

    return Broken


def _without_the_customers_lock(store: type[PostgresCaptureStore]) -> type[PostgresCaptureStore]:
    class Broken(store):  # type: ignore[misc, valid-type]
        async def lock_customers(self, ids: Sequence[str]) -> list[Customer]:
            customers: list[Customer] = await super().lock_customers(ids)
            for customer in customers:
                # As if read before anybody else's decision about them was committed.
                customer.owner_id = customer.open_lead_id = None
            return customers

    return Broken


def _without_keys(store: type[PostgresCaptureStore]) -> type[PostgresCaptureStore]:
    class Broken(store):  # type: ignore[misc, valid-type]
        async def first_answers(self, requests: Sequence[Keyed]) -> list[bytes | BreakwaterError | None]:
            return [None for _ in requests]

        async def keep_answers(self, answers: Sequence[tuple[Keyed, bytes]]) -> None:
            pass

    return Broken


_BROKEN: Final = {
    "ledger-not-locked": _without_the_ledgers_lock,
    "customers-not-locked": _without_the_customers_lock,
    "keys-forgotten": _without_keys,
}


def request_of(number: int) -> CreateRequest:
    """The lead of that number: two or three neighbours are one customer's, and come from different jobs."""
    rng = random.Random(number)
    customer = number % 7 + number // 21 * 7
    draft = LeadDraft(
        f"客户{customer}",
        rng.choice(("官网", "展会", "百度")),
        company=f"公司{customer}有限公司",
        phone=f"+86139{customer:08d}",
        region=rng.choice(("华东", "华南", "华北", "")),
        industry=rng.choice(("制造业", "教育", "")),
        budget=rng.choice((None, Decimal(100_000), Decimal(900_000))),
    )
    return CreateRequest(Keyed("proof", "CreateLead", f"lead-{number}", b"body"), normalise(draft))


async def serve(order: Mapping[str, Any]) -> None:
    """Jobs from standard input, as many at a time as are given; until it is closed."""
    fate = Fate(order["point"], order["at"])
    replica = await Replica.open(order["url"], order["password"], size=order["lanes"], fate=fate, bug=order["bug"])
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as group:
        while line := await reader.readline():
            first, count = json.loads(line)
            group.create_task(_do(replica, first, count))
    await replica.database.close()


async def _do(replica: Replica, first: int, count: int) -> None:
    def tell(ids: list[str]) -> None:
        # One write of a line short enough for a pipe to keep whole.
        os.write(sys.stdout.fileno(), json.dumps([first, count, ids]).encode() + b"\n")

    for _ in range(TRIES_MAX):
        try:
            return await replica.take(first, count, tell)
        except (BreakwaterError, OSError):
            # PostgreSQL is down: what was in hand is asked for again by its keys.
            await asyncio.sleep(PAUSE_S)
    raise TimeoutError(f"the leads from {first} could not be taken in {TRIES_MAX} tries")


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
