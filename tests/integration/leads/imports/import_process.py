"""A process of its own that works on imports until it is killed: `python import_process.py URL PASSWORD_FILE`."""

import asyncio
import sys
from pathlib import Path

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.local.secret_files import secret_text
from services.leads.intake.imports.documents import mapping_of
from services.leads.intake.imports.domain import ImportLimits
from services.leads.intake.imports.runner import ImportRunner
from services.leads.intake.imports.store import PostgresImportStore, PostgresStores
from services.leads.routing.store import Snapshots
from services.leads.sla.calendars import load_holidays

HOLIDAYS = Path(__file__).parents[4] / "services/leads/sla/holidays.yaml"
LIMITS = ImportLimits(chunk_rows=20, piece_bytes_max=4_096, lease_s=0.5, idle_poll_s=0.05)


async def main(url: str, password_file: str) -> None:
    database = await Database.open(url, service="leads", password=secret_text(Path(password_file)))
    snapshots = Snapshots(load_holidays(HOLIDAYS))
    store = PostgresImportStore(database, lambda tx: PostgresStores(tx, snapshots), LIMITS)
    await ImportRunner(store, mapping_of, SystemClock(), LIMITS).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
