"""A process that publishes and receives events, and may kill itself at a named point."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from breakwater.chassis.bus import Bus
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.inbox import Consumer, Received
from breakwater.chassis.outbox import Relay


def killer(point: str) -> Callable[[str], None]:
    """A checkpoint that is the end of this process: no `finally`, no rollback, no goodbye."""

    def checkpoint(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return checkpoint


async def record(tx: Transaction, event: Received) -> None:
    """The effect: one row."""
    await tx.execute("INSERT INTO effects (event_id, body) VALUES ($1, $2)", event.id, event.data.decode())


async def work(places: dict[str, Any]) -> None:
    """Relay of leads, consumer of notify, until killed."""
    leads = await Database.open(places["leads"], service="leads")
    notify = await Database.open(places["notify"], service="notify")
    checkpoint = killer(places["point"])
    buses = [
        await Bus.connect(places["nats"], service=service, user=service, password=places["passwords"][service])
        for service in ("leads", "notify")
    ]
    handlers = {places["type"]: record}
    consumer = Consumer(buses[1], notify, stream="LEADS", durable="notify", handlers=handlers, checkpoint=checkpoint)
    await asyncio.gather(Relay(leads, buses[0], checkpoint=checkpoint).run(), consumer.run())


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
