"""kill -9, the real one, at every named point between a commit and its effect."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from breakwater.chassis import outbox
from breakwater.chassis.bus import Bus
from breakwater.chassis.database import Database
from breakwater.chassis.outbox import OutboxEvent
from breakwater.local.nats import NatsServer
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
TYPE = "breakwater.leads.v1.LeadAssigned"
POINTS = [
    "relay:read",
    "relay:published",
    "relay:marked",
    "relay:committed",
    "consumer:applied",
    "consumer:committed",
    "consumer:acknowledged",
]


@pytest.mark.timeout(180)
async def test_every_committed_event_has_one_effect_whatever_point_is_killed(
    fresh_database: Any, clean_nats: NatsServer, tmp_path: Path
) -> None:
    """A process is killed at each point in turn while events are committed; afterwards effects are events, each once."""
    (tmp_path / "0001_effects.sql").write_text("CREATE TABLE effects (event_id text, body text)")
    databases = {}
    for service in ("leads", "notify"):
        databases[service] = await fresh_database(service, tmp_path)
    places = {
        "type": TYPE,
        "nats": clean_nats.url,
        "passwords": {service: clean_nats.password(service) for service in databases},
        **{service: database.dsn for service, database in databases.items()},
    }
    bus = await Bus.connect(clean_nats.url, service="notify", user="notify", password=clean_nats.password("notify"))
    leads = await Database.open(databases["leads"].dsn, service="leads")
    notify = await Database.open(databases["notify"].dsn, service="notify")
    committed: list[str] = []

    async def commit_some() -> None:
        events = [OutboxEvent(TYPE, "lead-1", len(committed), b"") for _ in range(20)]
        async with leads.transaction() as tx:
            await outbox.add(tx, events)
        committed.extend(event.id for event in events)

    async def effects() -> list[str]:
        async with notify.read() as reader:
            return [row["event_id"] for row in await reader.fetch("SELECT event_id FROM effects")]

    def started(point: str) -> "subprocess.Popen[bytes]":
        arguments = json.dumps(places | {"point": point})
        return subprocess.Popen([sys.executable, "-m", "tests.support.event_worker", arguments], cwd=ROOT)

    for point in POINTS:
        worker = started(point)

        async def died(worker: "subprocess.Popen[bytes]" = worker) -> bool:
            await commit_some()
            return worker.poll() is not None

        try:
            await until(f"the kill at {point}", died, within_s=30, every_s=0.05)
        finally:
            worker.kill()
        assert worker.wait() == -signal.SIGKILL

    worker = started("none")
    try:

        async def all_there() -> bool:
            return set(await effects()) >= set(committed)

        async def nothing_comes_any_more() -> bool:
            info = await bus.jetstream.consumer_info("LEADS", "notify")
            return info.num_pending == 0 and info.num_ack_pending == 0

        await until("an effect of each event", all_there, within_s=30)
        await until("every delivery answered", nothing_comes_any_more, within_s=30)
    finally:
        worker.kill()
        worker.wait()
    assert sorted(await effects()) == sorted(committed)
    async with leads.read() as reader:
        assert await reader.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 0
    await bus.close()
    await leads.close()
    await notify.close()
