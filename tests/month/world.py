"""A simulated month of leads on a virtual clock, with people who leave, outages, and a service that is asked again.

The use cases and the database are the real ones; the clock, the customers, the people and the faults are drawn from a seed. What
is judged in the end is worked out from what the world did, not from what the service says of itself.
"""

import heapq
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import BreakwaterError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1.events_pb2 import LeadSilent
from services.leads.documents.store import Newest
from services.leads.followups.domain import FollowUp
from services.leads.followups.playbook import PLAYBOOK, read_playbook
from services.leads.followups.store import PostgresWorkStore
from services.leads.followups.usecases import add_follow_up, claim_lead
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft, normalise
from services.leads.intake.store import PostgresCaptureStore
from services.leads.intake.usecases import CreateRequest, create_leads
from services.leads.organisation.availability import AvailabilityWatch
from services.leads.organisation.domain import DUTY_DESK, Leave, Person
from services.leads.organisation.duty import Shift
from services.leads.organisation.store import upsert_people
from services.leads.routing.rerouting import reroute_waiting_leads
from services.leads.routing.store import Snapshots
from services.leads.routing.waiting import PostgresRerouteStore
from services.leads.sla.calendars import load_holidays
from services.leads.sla.silence.domain import SilenceLimits
from services.leads.sla.silence.store import PostgresSilenceStore
from services.leads.sla.silence.usecases import tell_silences
from services.leads.sla.store import PostgresTimerStore
from services.leads.sla.usecases import fire_due_timers

HOLIDAYS = Path(__file__).parents[2] / "services/leads/sla/holidays.yaml"
BEGINS = datetime(2026, 4, 30, 16, 0, tzinfo=UTC)
"""The first of May in Shanghai: a month that begins with holidays and has a make-up Saturday."""
RETRY = timedelta(seconds=20)
"""How soon whoever was refused asks again."""
OUTAGE_MAX = timedelta(minutes=12)
"""Of an outage of leads or its database: a customer's form that waits longer cannot be assigned in 15 minutes."""
TICK = timedelta(minutes=15)
"""How often the world looks for people who have become able; timers are looked at when they are due."""
ASSIGNED_WITHIN = timedelta(minutes=15)
ALARM_AFTER = timedelta(hours=24)
_BATCH = 200
_NEGLECTED = 0.18
"""The share of leads whose owner does nothing (the fault story of 117)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much."""

    begins: datetime = BEGINS
    days: int = 30
    leads_a_day: int = 200
    people: int = 12
    """Four of them at least: one leaves, two lose what they need, one is on leave."""
    outages_a_day: float = 1.5
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """What the month came to."""

    leads: int = 0
    assigned_in_time: int = 0
    first_at_duty_desk: int = 0
    assigned_worst_s: float = 0.0
    unfollowed: int = 0
    alarmed: int = 0
    alarm_worst_late_s: float = 0.0
    followed_in_time: int = 0
    reminders: int = 0
    overdue: int = 0
    transfers: int = 0
    outages: int = 0
    refused_calls: int = 0
    lost_answers: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outage:
    """Nothing of leads works: refused at the door, or done and the commit never came, or committed and the answer lost."""

    begins: datetime
    ends: datetime


class Faulty:
    """Lets the world's outages into every transaction."""

    def __init__(self, clock: VirtualClock, outages: list[Outage], draw: random.Random, outcome: Outcome) -> None:
        self._clock, self._outages, self._draw, self._outcome = clock, outages, draw, outcome

    def __call__(self, begin: Callable[[], AbstractAsyncContextManager[Any]]) -> Callable[[], Any]:
        @asynccontextmanager
        async def faulty() -> AsyncIterator[Any]:
            if self.out():
                self._outcome.refused_calls += 1
                raise UnavailableError("PostgreSQL is out.", dependency="postgres")
            kind = self._draw.random()
            async with begin() as store:
                yield store
                if kind < 0.003:
                    self._outcome.refused_calls += 1
                    raise UnavailableError("The connection broke before the commit.", dependency="postgres")
            if kind > 0.997:
                self._outcome.lost_answers += 1
                raise UnavailableError("The connection broke after the commit.", dependency="postgres")

        return faulty

    def out(self) -> bool:
        now = self._clock.now()
        return any(outage.begins <= now < outage.ends for outage in self._outages)


class Month:
    """One run."""

    def __init__(self, plan: Plan, database: Database, admin: asyncpg.Connection) -> None:
        self.outcome = Outcome()
        self._plan, self._database, self._admin = plan, database, admin
        self._draw = random.Random(f"month {plan.seed}")
        self._clock = VirtualClock(plan.begins)
        self._ends = plan.begins + timedelta(days=plan.days)
        outages = list(self._outages())
        self.outcome.outages = len(outages)
        faulty = Faulty(self._clock, outages, random.Random(f"faults {plan.seed}"), self.outcome)
        self._faulty = faulty
        snapshots = Snapshots(load_holidays(HOLIDAYS))
        playbooks = Newest(PLAYBOOK, read_playbook)
        self._begin_capture = faulty(partial(PostgresCaptureStore.begin, database, snapshots))
        self._begin_work = faulty(partial(PostgresWorkStore.begin, database, snapshots, playbooks))
        self._workers = (
            partial(fire_due_timers, faulty(partial(PostgresTimerStore.begin, database, snapshots))),
            partial(tell_silences, faulty(partial(PostgresSilenceStore.begin, database)), limits=SilenceLimits()),
            partial(reroute_waiting_leads, faulty(partial(PostgresRerouteStore.begin, database, snapshots))),
        )

        async def directory(reader: Any) -> Any:
            return (await snapshots.current(reader)).directory

        self._availability = AvailabilityWatch(database, directory, self._clock, poll_s=60)
        self._events: list[tuple[datetime, int, Callable[[], Awaitable[None]]]] = []
        self._order = itertools.count()
        self._arrived: dict[str, datetime] = {}
        self._lead_of: dict[str, str] = {}
        self._followed_at: dict[str, datetime] = {}
        self._told = 0

    async def run(self) -> Outcome:
        """The whole month, and a day and a half more in which nobody does anything, so that the last alarms are due."""
        await self._people()
        for number in range(self._plan.days * self._plan.leads_a_day):
            self._at(self._arrival(), partial(self._form, f"{number:06d}"))
        quiet = self._ends + timedelta(hours=36)
        tick = self._plan.begins
        while tick < quiet:
            self._at(tick, self._tick)
            tick += TICK
        while self._events:
            at, _, act = heapq.heappop(self._events)
            await self._until(at)
            await act()
        # The last follow-ups may come later still.
        quiet = max(quiet, self._clock.now())
        await self._until(quiet)
        await self._judge(quiet)
        return self.outcome

    # ---- what happens

    def _at(self, moment: datetime, act: Callable[[], Awaitable[None]]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), act))

    def _arrival(self) -> datetime:
        day = self._plan.begins + timedelta(days=self._draw.randrange(self._plan.days))
        # Four of five in the day, the others whenever they like; one in ten with a crowd at eleven, as after a fair.
        kind = self._draw.random()
        if kind < 0.1:
            return day + timedelta(hours=11, seconds=self._draw.randrange(60))
        if kind < 0.8:
            return day + timedelta(seconds=self._draw.randrange(9 * 3_600, 18 * 3_600))
        return day + timedelta(seconds=self._draw.randrange(86_400))

    def _outages(self) -> Iterator[Outage]:
        for _ in range(round(self._plan.days * self._plan.outages_a_day)):
            begins = self._plan.begins + timedelta(seconds=self._draw.randrange(self._plan.days * 86_400))
            yield Outage(begins, begins + self._draw.random() * OUTAGE_MAX)

    async def _people(self) -> None:
        hours = tuple(Shift(day, 9 * 60, 18 * 60) for day in range(1, 6))
        people = [
            Person(f"p{number:02d}", f"销售{number}", duty=hours, weight=1 + number % 3)
            for number in range(self._plan.people)
        ]
        people.append(Person("sales-supervisor", "销售主管", weight=0))
        await self._upsert(*people)
        third = timedelta(days=self._plan.days / 3)
        self._at(self._plan.begins + third, partial(self._upsert, Person("p00", "销售0", active=False)))
        self._at(
            self._plan.begins + 2 * third,
            partial(self._upsert, Person("p01", "销售1", may_follow_up=False, duty=hours)),
        )
        self._at(
            self._plan.begins + third / 2, partial(self._upsert, Person("p02", "销售2", has_account=False, duty=hours))
        )
        self._at(self._plan.begins + third, partial(self._leave, "p03", third))

    async def _upsert(self, *people: Person) -> None:
        async with self._database.transaction() as tx:
            await upsert_people(tx, people)

    async def _leave(self, person_id: str, length: timedelta) -> None:
        leave = Leave(self._clock.now(), self._clock.now() + length)
        await self._admin.execute(
            """
            INSERT INTO leaves (id, person_id, starts_at, ends_at, created_by, created_at)
            VALUES (gen_random_uuid(), $1, $2, $3, 'month', $2)
            """,
            *(person_id, leave.starts_at, leave.ends_at),
        )
        await self._admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")

    async def _form(self, key: str) -> None:
        """A customer sends a form, and sends it again with the same key until it is answered."""
        self._arrived.setdefault(key, self._clock.now())
        draft = normalise(LeadDraft(f"客户{key}", "官网", phone=f"+86139{int(key):08d}"))
        request = CreateRequest(Keyed("form", "CreateLead", key, b"1"), draft)
        try:
            [answer] = await create_leads(
                self._begin_capture, [request], now=self._clock.now(), encode=lambda _, got, __: got.lead_id.encode()
            )
        except UnavailableError:
            self._at(self._clock.now() + RETRY, partial(self._form, key))
            return
        if isinstance(answer, BreakwaterError):
            self.outcome.problems.append(f"form {key} was refused: {answer}")
            return
        lead_id = self._lead_of[key] = answer.content.decode()
        if self._draw.random() < _NEGLECTED:
            return
        # Who does work works: some at once, some the day after next, which is too late.
        hours = self._draw.choice((0.05, 0.2, 0.5, 1, 3, 20, 23, 26, 40))
        wait = timedelta(hours=hours * self._draw.uniform(0.8, 1.2))
        if hours <= 1:
            self._at(self._clock.now() + wait / 2, partial(self._claim, lead_id))
        self._at(self._clock.now() + wait, partial(self._follow_up, lead_id))

    async def _owner(self, lead_id: str) -> str:
        return await self._admin.fetchval("SELECT coalesce(owner_id, '') FROM leads WHERE id = $1", lead_id) or ""

    async def _claim(self, lead_id: str) -> None:
        actor = Actor(await self._owner(lead_id), Role.SALES, Scope.OWN)
        try:
            await claim_lead(
                *(self._begin_work, Keyed("p", "ClaimLead", "", b""), actor, lead_id),
                now=self._clock.now(),
                encode=lambda lead: lead.id.encode(),
            )
        except UnavailableError:
            self._at(self._clock.now() + RETRY, partial(self._claim, lead_id))

    async def _follow_up(self, lead_id: str) -> None:
        # The desk has leads whose customers are still somebody's who cannot take them: a supervisor may speak with anybody's.
        owner_id = await self._owner(lead_id)
        at_desk = owner_id == DUTY_DESK
        actor = Actor(owner_id, Role.MANAGER if at_desk else Role.SALES, Scope.ALL if at_desk else Scope.OWN)
        now = self._clock.now()
        record = FollowUp(
            *("了解需求", "想先看资料"),
            next_action="发送资料",
            next_action_due=now + timedelta(days=1),
            objection="无",
            pain_tags=("无",),
        )
        try:
            await add_follow_up(
                *(self._begin_work, Keyed("p", "AddFollowUp", lead_id, b"1"), actor, lead_id, record),
                now=now,
                encode=lambda kept: kept.id.encode(),
            )
        except UnavailableError:
            self._at(now + RETRY, partial(self._follow_up, lead_id))
            return
        self._followed_at[lead_id] = now

    # ---- what the service does by itself

    async def _tick(self) -> None:
        if not self._faulty.out():
            await self._availability.look()
            await self._work()

    async def _until(self, moment: datetime) -> None:
        """Turns the clock on, stopping wherever a timer is due, as a worker that looks all the time would."""
        while True:
            due = await self._next_due()
            if due is None or due > moment:
                break
            await self._turn(max(due, self._clock.now()))
            if not await self._work():
                # Out, or the commit never came: the worker looks again.
                again = self._clock.now() + timedelta(seconds=1)
                if again > moment:
                    break
                await self._turn(again)
        await self._turn(max(moment, self._clock.now()))

    async def _turn(self, moment: datetime) -> None:
        await self._clock.advance((moment - self._clock.now()).total_seconds())

    async def _next_due(self) -> datetime | None:
        return await self._admin.fetchval(
            """
            SELECT least((SELECT min(coalesce(remind_at, due_at)) FROM first_touch_timers WHERE paused_at IS NULL),
                         (SELECT min(counted_from) FROM silences) + interval '24 hours')
            """
        )

    async def _work(self) -> bool:
        """All that is due; True if all of it was done."""
        done = True
        for work in self._workers:
            try:
                while await work(now=self._clock.now(), limit=_BATCH):
                    pass
            except UnavailableError:
                done = False
        return done

    # ---- what it came to

    async def _judge(self, quiet: datetime) -> None:
        outcome = self.outcome
        outcome.leads = len(self._lead_of)
        kept = await self._admin.fetchval("SELECT count(*) FROM leads")
        if not outcome.leads == kept == len(self._arrived):
            outcome.problems.append(f"{len(self._arrived)} forms, {outcome.leads} answers, {kept} leads")
        await self._judge_assignments()
        await self._judge_alarms(quiet)
        counts = await self._admin.fetch("SELECT type, count(*) AS of FROM outbox GROUP BY type")
        told = {row["type"].rpartition(".")[2]: row["of"] for row in counts}
        outcome.reminders, outcome.overdue = told.get("LeadDueSoon", 0), told.get("LeadOverdue", 0)
        outcome.transfers = await self._admin.fetchval(
            "SELECT count(*) FROM assignments WHERE rule_id = 'first-touch-overdue'"
        )

    async def _judge_assignments(self) -> None:
        rows = await self._admin.fetch(
            """
            SELECT DISTINCT ON (lead_id) lead_id::text, owner_id, decided_at FROM assignments
            WHERE owner_id IS NOT NULL ORDER BY lead_id, decided_at, id
            """
        )
        first = {row["lead_id"]: row for row in rows}
        for key, lead_id in self._lead_of.items():
            if lead_id not in first:
                self.outcome.problems.append(f"lead {lead_id} was never assigned")
                continue
            took = first[lead_id]["decided_at"] - self._arrived[key]
            self.outcome.assigned_worst_s = max(self.outcome.assigned_worst_s, took.total_seconds())
            self.outcome.assigned_in_time += took <= ASSIGNED_WITHIN
            self.outcome.first_at_duty_desk += first[lead_id]["owner_id"] == DUTY_DESK
            if took > ASSIGNED_WITHIN:
                self.outcome.problems.append(f"lead {lead_id} was assigned {took} after the form")

    async def _judge_alarms(self, quiet: datetime) -> None:
        """Against the forms and follow-ups of the world: who was silent for a day must have been told of, nobody else."""
        given: dict[str, list[datetime]] = {}
        for row in await self._admin.fetch(
            "SELECT lead_id::text AS id, decided_at FROM assignments ORDER BY decided_at, id"
        ):
            given.setdefault(row["id"], []).append(row["decided_at"])
        alarms: dict[str, list[tuple[datetime, int]]] = {}
        for row in await self._admin.fetch(
            "SELECT subject_id, payload, occurred_at FROM outbox WHERE type LIKE '%.LeadSilent' ORDER BY position"
        ):
            told = LeadSilent.FromString(row["payload"])
            alarms.setdefault(row["subject_id"], []).append((row["occurred_at"], told.times))
        for lead_id in self._lead_of.values():
            self._judge_lead(lead_id, given[lead_id], alarms.pop(lead_id, []), quiet)
        self.outcome.problems += [f"lead {lead_id} alarmed and is nobody's form" for lead_id in alarms]

    def _judge_lead(
        self, lead_id: str, given: list[datetime], told: list[tuple[datetime, int]], quiet: datetime
    ) -> None:
        followed_at = self._followed_at.get(lead_id)
        self.outcome.followed_in_time += followed_at is not None and followed_at < given[0] + ALARM_AFTER
        # Silent from the first assignment to the follow-up, and again from the first assignment after it, if there is one.
        silences = [(given[0], followed_at or quiet)]
        if followed_at is not None:
            silences += [(at, quiet) for at in given if at > followed_at][:1]
        for since, until in silences:
            due = since + ALARM_AFTER
            mine = [(at, times) for at, times in told if since < at <= until]
            told = [each for each in told if each not in mine]
            if due >= until:
                if mine:
                    self.outcome.problems.append(f"lead {lead_id} alarmed at {mine[0][0]}, silent only since {since}")
                continue
            late = (mine[0][0] - due).total_seconds() if mine else float("inf")
            if not mine and until - due < 2 * OUTAGE_MAX:
                # Followed up while nothing worked.
                continue
            self.outcome.unfollowed += 1
            if not 0 <= late <= (2 * OUTAGE_MAX).total_seconds():
                self.outcome.problems.append(f"lead {lead_id}, silent since {since}, alarmed {late} s late")
                continue
            self.outcome.alarmed += 1
            self.outcome.alarm_worst_late_s = max(self.outcome.alarm_worst_late_s, late)
            if [times for _, times in mine] != list(range(1, len(mine) + 1)):
                self.outcome.problems.append(f"lead {lead_id} alarmed out of order: {mine}")
        if told:
            self.outcome.problems.append(f"lead {lead_id} alarmed at {told[0][0]} and was not silent")
