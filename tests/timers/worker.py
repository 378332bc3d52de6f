"""A process of its own that fires timers and tells silences until it is killed: `python worker.py URL PASSWORD_FILE`."""

import asyncio
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database, PoolLimits
from breakwater.local.secret_files import secret_text
from services.leads.routing.store import Snapshots
from services.leads.settings import LeadsSettings
from services.leads.sla.calendars import load_holidays
from services.leads.sla.silence.domain import SilenceLimits
from services.leads.sla.silence.store import PostgresSilenceStore
from services.leads.sla.silence.usecases import tell_silences
from services.leads.sla.store import PostgresTimerStore
from services.leads.sla.usecases import fire_due_timers
from services.leads.sla.worker import TimerWorker

SHIPPED = LeadsSettings.model_fields


async def main(url: str, password_file: str) -> None:
    """As `services.leads.main` runs them, with the settings it is shipped with."""
    database = await Database.open(
        url, service="leads", password=secret_text(Path(password_file)), limits=PoolLimits(acquire_timeout_s=30)
    )
    snapshots = Snapshots(load_holidays(SHIPPED["holidays_file"].default))
    worker = partial(
        TimerWorker,
        clock=SystemClock(),
        poll_s=SHIPPED["timer_poll_s"].default,
        batch_size_max=SHIPPED["timer_batch_size_max"].default,
    )
    timers = partial(fire_due_timers, partial(PostgresTimerStore.begin, database, snapshots))
    silences = partial(tell_silences, partial(PostgresSilenceStore.begin, database), limits=SilenceLimits())
    await timers(now=datetime.now(UTC), limit=1)
    sys.stdout.write("looking\n")
    sys.stdout.flush()
    await asyncio.gather(worker("first-touch", timers).run(), worker("silence", silences).run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
