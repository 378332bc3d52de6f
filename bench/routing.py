"""What routing costs: ten thousand rules asked of a lead, beside asking each; an explanation and a replay from PostgreSQL.

`python -m bench.routing`. Evaluation is measured in processor time of this process, one decision at a time, over several
seeded rule books: what else the machine does delays a decision and is not charged to it. Explanations and replays are
measured on the clock, from the use case to PostgreSQL and back, `--concurrent` at a time. One JSON line a figure.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.migrations import migrate
from breakwater.local.databases import MIGRATIONS, ServiceRoles, provision_database, provision_roles, provision_schema
from breakwater.local.postgres import PostgresServer
from services.leads.intake.capture import capture_leads
from services.leads.intake.domain import LeadDraft
from services.leads.intake.reads import PostgresLeadReader
from services.leads.intake.store import PostgresCaptureStore
from services.leads.intake.usecases import list_assignments
from services.leads.organisation.domain import DUTY_DESK, Directory, Person, Team
from services.leads.organisation.store import upsert_people
from services.leads.routing.deciding import decide
from services.leads.routing.domain import Facts, Ledger
from services.leads.routing.rulebook import PostgresRulesStore
from services.leads.routing.rules import RuleSet, read_rules
from services.leads.routing.store import Snapshots
from services.leads.routing.usecases import put_rules, replay_assignment
from services.leads.sla.calendars import load_holidays

RULES = 10_000
TEAM_SIZE = 20
ADMIN = Actor("bench", Role.ADMIN, Scope.ALL)
NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
HOLIDAYS = Path(__file__).parents[1] / "services/leads/sla/holidays.yaml"

REGIONS = ("华东", "华南", "华北", "西南", "东北", "华中", "西北")
INDUSTRIES = tuple(f"行业{number}" for number in range(60))
SOURCES = tuple(f"渠道{number}" for number in range(25))
CITIES = tuple(f"{number:04}00" for number in range(1100, 1500))
TEAM = {"kind": "team", "team_id": "sales"}
DESK = {"id": "desk", "target": {"kind": "duty_desk", "person_id": DUTY_DESK}}

AIMS = {"evaluation_p99": 1_000.0, "explanation_p99": 20.0, "replay_p99": 20.0}


def figure(name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None) -> None:
    document: dict[str, Any] = {
        "bench": "routing",
        "figure": name,
        "value": round(value, 2),
        "unit": unit,
        "peer": peer,
    }
    document["peer_value"] = None if peer_value is None else round(peer_value, 2)
    document["ratio"] = None if not peer_value else round(value / peer_value, 4)
    for aimed, aim in AIMS.items():
        if name.endswith(aimed):
            document |= {"aim": f"at most {aim:g}", "met": value <= aim}
    print(json.dumps(document, ensure_ascii=False), flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def by_segment(rng: random.Random) -> dict[str, Any]:
    """What directors write: some of region, industry, source, city, and a budget from somewhere on."""
    when: list[dict[str, Any]] = [{"field": "region", "op": "eq", "value": rng.choice(REGIONS)}]
    if rng.random() < 0.8:
        when.append({"field": "industry", "op": "in", "value": rng.sample(INDUSTRIES, rng.randint(1, 4))})
    if rng.random() < 0.5:
        when.append({"field": "source", "op": "eq", "value": rng.choice(SOURCES)})
    if rng.random() < 0.5:
        when.append({"field": "city_code", "op": "eq", "value": rng.choice(CITIES)})
    if rng.random() < 0.5:
        when.append({"field": "budget", "op": "gte", "value": rng.randrange(0, 1_000_000, 10_000)})
    return {"when": when}


def by_limits(rng: random.Random) -> dict[str, Any]:
    """Nothing but numbers: a budget within limits, every one of its own."""
    low = rng.randrange(0, 1_000_000)
    return {
        "when": [
            {"field": "budget", "op": "gte", "value": low},
            {"field": "budget", "op": "lt", "value": low + rng.randrange(100, 200_000)},
            {"field": "customer.activities_90d", "op": "gte", "value": rng.randint(1, 9)},
        ]
    }


def by_points(rng: random.Random) -> dict[str, Any]:
    """Weighed dimensions beside a region and an industry."""
    segment = by_segment(rng)["when"][:2]
    weigh = [
        {"field": "budget", "op": "gt", "value": rng.randrange(0, 900_000), "points": 40},
        {"field": "urgency", "op": "eq", "value": "高", "points": 30},
        {"field": "need", "op": "contains", "value": rng.choice(INDUSTRIES), "points": 30},
    ]
    return {"when": segment, "weigh": weigh, "at_least": 60}


BOOKS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "segments": by_segment,
    "limits": by_limits,
    "points": by_points,
}


def book(make: Callable[[random.Random], dict[str, Any]], rules: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    entries = [
        {**make(rng), "id": f"r{number}", "priority": f"P{rng.randint(0, 3)}", "target": TEAM}
        for number in range(rules - 2)
    ]
    return {"rules": [*entries, {"id": "rest", "target": TEAM}, DESK]}


def leads(count: int, seed: int) -> list[Facts]:
    rng = random.Random(seed)
    return [
        {
            "region": rng.choice(REGIONS),
            "industry": rng.choice(INDUSTRIES),
            "source": rng.choice(SOURCES),
            "city_code": rng.choice(CITIES),
            "budget": Decimal(rng.randrange(0, 1_200_000)),
            "urgency": rng.choice(("高", "低", "")),
            "need": f"想要{rng.choice(INDUSTRIES)}的方案",
            "customer.activities_90d": Decimal(rng.randint(0, 9)),
            "customer.won_deals": Decimal(0),
        }
        for _ in range(count)
    ]


def people() -> list[Person]:
    return [Person(f"p{number:02}", f"销售{number}", weight=1 + number % 3) for number in range(TEAM_SIZE)]


def measure_evaluation(name: str, rules: RuleSet, count: int, seed: int) -> None:
    """Whole decisions, and the asking alone beside asking each rule."""
    directory = Directory.of([Person(DUTY_DESK, "值班席", weight=0), *people()], [Team("sales", "销售一部", "")])
    ledger = Ledger({}, {})
    facts = leads(count, seed)
    rules.index.matching(facts[0]).priority()
    whole, asked, each_by_each = [], [], []
    gc.collect()
    gc.freeze()
    for turn, lead in enumerate(facts):
        began = time.process_time_ns()
        decision = decide(rules, lead, directory, ledger, NOW)
        whole.append((time.process_time_ns() - began) / 1_000)
        ledger.record(decision)
        began = time.process_time_ns()
        matching = rules.index.matching(lead)
        found, priority = next(matching.rules()), matching.priority()
        asked.append((time.process_time_ns() - began) / 1_000)
        if turn % 20 == 0:
            began = time.process_time_ns()
            met = [rule for rule in rules.rules if rule.matches(lead)]
            each_by_each.append((time.process_time_ns() - began) / 1_000)
            if met[0] is not found or min(rule.priority for rule in met) is not priority:
                sys.exit(f"the index answers otherwise than its rules: lead {turn} of seed {seed}")
    gc.unfreeze()
    peer = "each rule by itself"
    figure(f"{name}_asking_p50", quantile(asked, 0.5), "us CPU", peer, quantile(each_by_each, 0.5))
    figure(f"{name}_asking_p99", quantile(asked, 0.99), "us CPU", peer, quantile(each_by_each, 0.99))
    figure(f"{name}_evaluation_p50", quantile(whole, 0.5), "us CPU")
    figure(f"{name}_evaluation_p99", quantile(whole, 0.99), "us CPU")


async def measure_explanations(server: PostgresServer, count: int, concurrent: int) -> None:
    """Leads captured under ten thousand rules; why each went where it did, and each decided again."""
    passwords = ServiceRoles("leads", "bench", "bench")
    await provision_roles(server.dsn(), [passwords])
    await provision_database(server.dsn(), "bench")
    await provision_schema(server.dsn("bench"), "bench", "leads")
    await migrate(server.dsn("bench", user="leads_owner", password="bench"), "leads", MIGRATIONS["leads"])
    database = await Database.open(
        f"postgresql://leads@{server.host}:{server.port}/bench", service="leads", password="bench"
    )
    clock, snapshots = SystemClock(), Snapshots(load_holidays(HOLIDAYS))
    async with database.transaction() as tx:
        await upsert_people(tx, people())
    begin_rules = partial(PostgresRulesStore.begin, database, snapshots)
    await put_rules(begin_rules, ADMIN, book(by_segment, RULES, seed=1), 0, now=clock.now())
    captured: list[tuple[str, str]] = []
    rng = random.Random(7)
    for start in range(0, count, 50):
        drafts = [
            LeadDraft(
                f"客户{number}",
                rng.choice(SOURCES),
                phone=f"+86139{number:08d}",
                region=rng.choice(REGIONS),
                industry=rng.choice(INDUSTRIES),
                budget=Decimal(rng.randrange(0, 1_200_000)),
            )
            for number in range(start, start + 50)
        ]
        async with PostgresCaptureStore.begin(database, snapshots) as store:
            made = await capture_leads(store, drafts, now=clock.now())
        captured.extend((each.lead_id, each.assignment.id) for each in made if each.assignment)
    begin_reading = partial(PostgresLeadReader.begin, database, snapshots)

    async def explain(lead_id: str, _: str) -> None:
        [decision] = await list_assignments(begin_reading, ADMIN, lead_id)
        if len(decision.candidates) < TEAM_SIZE:
            sys.exit(f"the explanation of {lead_id} leaves somebody out")

    equal = 0

    async def replay(lead_id: str, assignment_id: str) -> None:
        nonlocal equal
        replayed = await replay_assignment(begin_rules, ADMIN, lead_id, assignment_id)
        equal += replayed.is_equal

    for name, act in (("explanation", explain), ("replay", replay)):
        took = await in_turn(captured, act, concurrent)
        figure(f"{name}_p50", quantile(took, 0.5), f"ms at {concurrent} at a time")
        figure(f"{name}_p99", quantile(took, 0.99), f"ms at {concurrent} at a time")
    figure("replays_equal", 100 * equal / len(captured), f"% of {len(captured)}")
    await database.close()


async def in_turn(
    captured: Sequence[tuple[str, str]], act: Callable[[str, str], Awaitable[None]], concurrent: int
) -> list[float]:
    """Milliseconds of each."""
    took: list[float] = []
    waiting = iter(captured)

    async def work() -> None:
        for lead_id, assignment_id in waiting:
            began = time.perf_counter()
            await act(lead_id, assignment_id)
            took.append((time.perf_counter() - began) * 1_000)

    await asyncio.gather(*(work() for _ in range(concurrent)))
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=5_000, help="of each rule book")
    parser.add_argument("--explanations", type=int, default=2_000)
    parser.add_argument("--concurrent", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name, make in BOOKS.items():
        document = book(make, RULES, options.seed)
        began = time.process_time()
        rules = read_rules(document, 1)
        _ = rules.index
        figure(f"{name}_read", (time.process_time() - began) * 1_000, f"ms CPU for {RULES} rules")
        measure_evaluation(name, rules, options.leads, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        server = PostgresServer(place / "server", password_file=place / "password", log_file=place / "log")
        server.start()
        try:
            uvloop.run(measure_explanations(server, options.explanations, options.concurrent))
        finally:
            server.close()


if __name__ == "__main__":
    main()
