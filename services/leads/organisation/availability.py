"""Notices that time has made somebody able to take leads: hours that begin, a leave that ends, a new day, room again.

Leads that only the duty desk could take are routed anew when organisation or rules change. The clock changes neither,
so somebody has to look; the row `availability` is shared, so that one replica's look is enough.
"""

from datetime import datetime

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Database
from services.leads.organisation.domain import reason_against
from services.leads.organisation.store import ReadDirectory, move_version, read_workloads
from services.leads.organisation.usecases import Workload

_SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM leads WHERE waiting AND stage IN ('new', 'contacted', 'qualified'))"
"""Limits are reached and left all day; nobody has to read the organisation anew for that while no lead waits."""


class AvailabilityWatch:
    """Looks every `poll_s` seconds; any number of replicas may."""

    def __init__(self, database: Database, directory: ReadDirectory, clock: Clock, *, poll_s: float) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock
        self._poll_s = poll_s
        self._looked_at = clock.now()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(self._poll_s)

    async def look(self) -> frozenset[str]:
        """Has waiting leads routed anew if somebody can take leads who could not; returns who became able."""
        async with self._database.read() as reader:
            directory = await self._directory(reader)
            workloads = await read_workloads(reader)
            before = list(await reader.fetchval("SELECT able FROM availability"))
        now = self._clock.now()
        able = sorted(
            person.id
            for person in directory.people.values()
            if person.id not in directory.always_able
            and not reason_against(
                person,
                directory,
                now,
                open_leads=workloads.get(person.id, Workload()).open_leads,
                taken=workloads.get(person.id, Workload()).taken,
            )
        )
        if able:
            await self._ask_again(now)
        self._looked_at = now
        if able == before:
            return frozenset()
        async with self._database.transaction() as tx:
            # Compared again: of replicas that saw the same change one writes it.
            seen = await tx.fetchval("UPDATE availability SET able = $1 WHERE able = $2 RETURNING true", able, before)
            gained = frozenset(able) - frozenset(before) if seen else frozenset()
            if gained and await tx.fetchval(_SOMEBODY_WAITS):
                await move_version(tx)
        return gained

    async def _ask_again(self, now: datetime) -> None:
        """Leads that began to wait since the last look are routed once more: whoever had no room then may have had before
        and have again, which two looks do not show.
        """
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE leads SET routed_version = 0
                WHERE id IN (
                    SELECT id FROM leads WHERE waiting AND stage IN ('new', 'contacted', 'qualified')
                          AND assigned_at BETWEEN $1 AND $2 ORDER BY id FOR UPDATE SKIP LOCKED
                )
                """,
                *(self._looked_at, now),
            )
