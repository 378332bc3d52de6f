"""Boards: figures against a slow oracle over the raw rows, and the leads behind each of them."""

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import partial
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from breakwater.chassis.errors import InvalidRequestError, NotFoundError, PayloadTooLargeError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.ids import uuid7
from services.leads.boards.domain import Measures, dwell_of
from services.leads.boards.personal.store import PostgresPersonalReader
from services.leads.boards.personal.usecases import get_personal_board
from services.leads.boards.report.store import PostgresReportReader
from services.leads.boards.report.usecases import get_report
from services.leads.boards.usecases import (
    BoardOptions,
    BoardQuery,
    LostFilter,
    get_lead_timeliness,
    list_timeliness_leads,
)
from services.leads.datasets.store import PostgresDatasetReader
from services.leads.datasets.usecases import Head, stream_dataset, unpacked
from services.leads.followups.usecases import change_stage, claim_lead
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.intake.usecases import LeadFilter
from services.leads.organisation.domain import DUTY_DESK, Person

pytestmark = pytest.mark.capability(1, 2, 6, 7, 43, 63)

ALL = Actor("admin", Role.ADMIN, Scope.ALL)
BOSS = Actor("boss", Role.MANAGER, Scope.TEAM)
MINUTE = timedelta(minutes=1)
OPTIONS = BoardOptions()
PEOPLE = {"a": "sales", "b": "sales", "boss": "sales", "c": "berlin", "d": "berlin"}


@dataclass
class Boards:
    """The boards of one database."""

    leads: object

    def begin(self):
        return PostgresPersonalReader.begin(self.leads.database, self.leads.snapshots)

    async def board(self, actor=ALL, *, options=OPTIONS, **query):
        now = self.leads.clock.now()
        return await get_lead_timeliness(self.begin, actor, BoardQuery(**query), now=now, options=options)

    async def behind(self, figure, actor=ALL, lost=None, **query):
        """Every lead behind a figure, page by page."""
        found, before = [], None
        while True:
            page, before = await list_timeliness_leads(
                self.begin,
                actor,
                BoardQuery(**query),
                figure,
                lost or LostFilter(),
                before,
                7,
                now=self.leads.clock.now(),
                options=OPTIONS,
            )
            assert len(page) <= 7
            found += page
            if before is None:
                return found

    async def personal(self, actor, person_id=""):
        now = self.leads.clock.now()
        return await get_personal_board(self.begin, actor, person_id, now=now, options=OPTIONS)


@pytest.fixture
async def boards(leads):
    """Two teams with calendars of their own; it is Thursday 5 March, 15:30 in Shanghai."""
    await leads.people(*(Person(each, f"人{each}", team_id=team) for each, team in PEOPLE.items()))
    await leads.admin.execute(
        "UPDATE teams SET supervisor_id = 'boss', lunch_start = '12:00', lunch_end = '13:30' WHERE id = 'sales'"
    )
    await leads.admin.execute("UPDATE teams SET time_zone = 'Europe/Berlin', name = '柏林' WHERE id = 'berlin'")
    await leads.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    await leads.clock.advance(timedelta(days=59, hours=5, minutes=30).total_seconds())
    return Boards(leads)


async def seed(leads, dice: random.Random, count: int) -> None:
    """Leads of the last two weeks as they may lie in the tables, whatever became of them."""
    now = leads.clock.now()
    for _ in range(count):
        captured = now - dice.randrange(14 * 24 * 60) * MINUTE
        stage = dice.choice(["new", "new", "contacted", "qualified", "lost", "lost", "converted"])
        lead, customer = uuid4(), uuid4()
        owner = dice.choice([*PEOPLE, DUTY_DESK, None])
        claimed = min(captured + dice.choice([3, 40, 400, 4000]) * MINUTE, now) if dice.random() < 0.6 else None
        since = min(captured + dice.randrange(1, 9_000) * MINUTE, now) if stage in {"lost", "converted"} else None
        decisions = []
        if dice.random() < 0.9:
            at = captured
            for to in [*dice.sample([*PEOPLE, DUTY_DESK], dice.randrange(3)), owner]:
                decisions.append((to, at, at + 20 * MINUTE if dice.random() < 0.8 else None))
                at = min(at + dice.choice([1, 20, 600]) * MINUTE, now)
        # A clock that stood for a while moves the limit of whoever has the lead.
        moved = decisions and decisions[-1][2] and decisions[-1][2] + dice.choice([0, 90]) * MINUTE
        await leads.admin.execute(
            "INSERT INTO customers VALUES ($1, '甲', '', '', '', $2, $3, $3)", customer, owner, captured
        )
        await leads.admin.execute(
            """
            INSERT INTO leads (id, customer_id, name, industry, source, stage, owner_id, waiting, created_at,
                               captured_at, claimed_at, claim_by, sequence)
            VALUES ($1, $2, '甲', $3, $4, $5, $6, $7, $8, $8, $9, $10, 1)
            """,
            *(lead, customer, dice.choice(["", "制造业", "医疗"]), dice.choice(["官网", "展会"]), stage, owner),
            *(owner in {DUTY_DESK, None}, captured, claimed, moved or None),
        )
        for kind, to, at in (
            ("stage_changed", stage, since),
            # Lost once before, and taken up again: only the last time counts.
            ("stage_changed", "lost", since and since - MINUTE),
            # Claimed by somebody who has it no more.
            ("claimed", "", captured + 9 * MINUTE if dice.random() < 0.2 else None),
        ):
            if at is not None:
                await leads.admin.execute(
                    "INSERT INTO lead_steps (id, lead_id, kind, actor_id, to_stage, at) VALUES ($1, $2, $3, 'a', $4, $5)",
                    *(uuid4(), lead, kind, to, at),
                )
        for number, (to, at, due) in enumerate(decisions):
            await leads.admin.execute(
                "INSERT INTO assignments VALUES ($1, $2, $3, 'r', 1, 'P2', '', '[]', $4, $5)",
                *(UUID(int=dice.getrandbits(96) + (number << 100)), lead, to, due, at),
            )
        for _ in range(dice.choice([0, 0, 1, 2])):
            at = min(captured + dice.choice([5, 70, 3_000, 9_000]) * MINUTE, now)
            await follow_up(leads, lead, customer, at, "")


def done(_) -> bytes:
    return b""


async def follow_up(leads, lead, customer, at: datetime, action: str, due: datetime | None = None) -> None:
    await leads.admin.execute(
        """
        INSERT INTO follow_ups (id, lead_id, customer_id, author_id, goal, customer_words, next_action, next_action_due,
                                objection, created_at, first_touch_at)
        VALUES ($1, $2, $3, 'a', '', '', $4, $5, '无', $6, $6)
        """,
        *(UUID(uuid7()), lead, customer, action, due or at, at),
    )


def works(zone: ZoneInfo, at: datetime, *, lunch: bool) -> bool:
    local = at.astimezone(zone)
    # The days asked hold no public holiday; Saturday 28 February is worked (调休).
    day = local.weekday() < 5 or local.date().isoformat() == "2026-02-28"
    return day and time(9) <= local.time() < time(18) and not (lunch and time(12) <= local.time() < time(13, 30))


def business_s(team: str, start: datetime, end: datetime) -> float:
    zone, lunch = (
        (ZoneInfo("Europe/Berlin"), False) if team == "berlin" else (ZoneInfo("Asia/Shanghai"), team == "sales")
    )
    minutes = 0
    while start < end:
        minutes += works(zone, start, lunch=lunch)
        start += MINUTE
    return 60.0 * minutes


@dataclass
class Oracle:
    """What the figures must be, by walking over every row and every minute."""

    sets: dict
    seconds: dict
    owners: dict

    @classmethod
    async def of(cls, leads, first: datetime, last: datetime) -> "Oracle":
        oracle = cls(defaultdict(set), {}, {})
        for lead in await leads.rows("SELECT * FROM leads"):
            decisions = await leads.rows("SELECT * FROM assignments WHERE lead_id = $1 ORDER BY id", lead["id"])
            follow_ups = await leads.rows("SELECT created_at FROM follow_ups WHERE lead_id = $1", lead["id"])
            steps = await leads.rows("SELECT * FROM lead_steps WHERE lead_id = $1 ORDER BY at", lead["id"])
            oracle.lie(lead, steps, first, last, leads.clock.now())
            if decisions and first <= lead["captured_at"] < last:
                contact = min((each["created_at"] for each in follow_ups), default=None)
                claims = [each["at"] for each in steps if each["kind"] == "claimed"]
                oracle.answer(lead, decisions, contact, claims, leads.clock.now())
        return oracle

    def lie(self, lead, steps, first, last, now) -> None:
        lead_id = str(lead["id"])
        open_still = lead["stage"] in {"new", "contacted", "qualified"}
        if lead["waiting"] and open_still and now - lead["captured_at"] > timedelta(hours=48):
            self.sets["unassigned"].add(lead_id)
        gone = [each["at"] for each in steps if each["to_stage"] == "lost" and first <= each["at"] < last]
        if lead["stage"] == "lost" and gone:
            self.sets["lost"].add(lead_id)
            self.sets["lost", dwell_of(gone[-1] - lead["captured_at"])].add(lead_id)

    def answer(self, lead, decisions, contact, claims, now) -> None:
        lead_id, captured = str(lead["id"]), lead["captured_at"]
        self.sets["leads"].add(lead_id)
        given = [each for each in decisions if each["owner_id"] not in {None, DUTY_DESK}]
        owner = self.owners[lead_id] = given[0]["owner_id"] if given else ""
        due = given[0]["claim_by"] if given else None
        if given and lead["owner_id"] == owner and lead["claim_by"]:
            due = lead["claim_by"]
        answered = min((at for at in (lead["claimed_at"], contact, *claims) if at), default=None)
        if answered:
            self.sets["responded"].add(lead_id)
            team = PEOPLE.get(owner, "sales")
            self.seconds[lead_id] = ((answered - captured).total_seconds(), business_s(team, captured, answered))
        if due:
            self.judge(lead_id, "on_time", "late", answered, due, now)
        assigned = given[0]["decided_at"] if given else None
        self.judge(lead_id, "assigned_in_time", "assigned_late", assigned, captured + 15 * MINUTE, now)
        self.judge(lead_id, "contacted_in_time", "contacted_late", contact, captured + timedelta(hours=48), now)

    def judge(self, lead_id, met, missed, at, limit, now) -> None:
        if at and at <= limit:
            self.sets[met].add(lead_id)
        elif at or limit < now:
            self.sets[missed].add(lead_id)

    def figures(self, owners) -> dict:
        def of(name):
            return {each for each in self.sets[name] if self.owners[each] in owners}

        found = {name: len(of(name)) for name in ("leads", "responded", "on_time", "late")}
        for name in ("assigned", "contacted"):
            met, missed = len(of(f"{name}_in_time")), len(of(f"{name}_late"))
            found[name] = (met, met + missed)
        for place, name in enumerate(("wall", "business")):
            ordered = sorted(self.seconds[each][place] for each in of("responded"))
            found[name] = (round(sum(ordered) / len(ordered), 3), *ranks(ordered)) if ordered else None
        return found


def ranks(ordered) -> list:
    """The smallest value that 50 and 90 percent do not exceed."""
    return [
        next(v for v in ordered if sum(w <= v for w in ordered) * 100 >= percent * len(ordered)) for percent in (50, 90)
    ]


def figures(each) -> dict:
    def spread(value):
        return value and (round(value.mean_s, 3), value.p50_s, value.p90_s)

    return {
        "leads": each.leads,
        "responded": each.responded,
        "on_time": each.on_time.met,
        "late": each.late,
        "assigned": (each.assigned.met, each.assigned.of),
        "contacted": (each.contacted.met, each.contacted.of),
        "wall": spread(each.wall),
        "business": spread(each.business),
    }


@pytest.mark.capability(88)
async def test_every_figure_is_what_a_slow_oracle_counts_and_lists_its_leads(leads, boards) -> None:
    """Whatever became of the leads: totals, teams, people, lateness, shares, lost leads, and the list behind each."""
    await seed(leads, random.Random(1), 120)
    board = await boards.board()
    assert (board.days.first.isoformat(), board.days.last.isoformat()) == ("2026-02-27", "2026-03-05")
    oracle = await Oracle.of(leads, board.days.begin, board.days.end)
    assert figures(board.total) == oracle.figures({*PEOPLE, ""})
    assert board.total.leads > 10
    assert 0 < board.total.late < board.total.leads
    for team in board.teams:
        members = {person for person, of in PEOPLE.items() if of == team.id} if team.id else {""}
        assert figures(team) == oracle.figures(members), team.name
    for person in board.people:
        assert figures(person) == oracle.figures({person.id}), person.name
    assert {person.id for person in board.people} | {""} >= set(oracle.owners.values())
    assert [each.late for each in board.late] == sorted(
        (each.late for each in board.people if each.late), reverse=True
    )[:3]
    assert board.unassigned == len(oracle.sets["unassigned"])
    assert board.lost.leads == len(oracle.sets["lost"])
    assert sum(number for _, number in board.lost.by_source()) == board.lost.leads
    for name in ("leads", "responded", "on_time", "late", "assigned_late", "contacted_late", "unassigned", "lost"):
        listed = await boards.behind(name)
        assert {each.times.id for each in listed} == oracle.sets[name], name
        assert len(listed) == len(oracle.sets[name]), f"{name} listed a lead twice"
        if name == "responded":
            assert {each.times.id: each.business_s for each in listed} == {
                lead: business for lead, (_, business) in oracle.seconds.items()
            }
    for dwell, number in board.lost.by_dwell():
        listed = await boards.behind("lost", lost=LostFilter(dwell=dwell))
        assert {each.times.id for each in listed} == oracle.sets["lost", dwell]
        assert len(listed) == number
    for industry, number in board.lost.by_industry():
        assert len(await boards.behind("lost", lost=LostFilter(industry=industry))) == number


@pytest.mark.capability(117)
async def test_the_report_counts_what_the_board_counts(leads, boards) -> None:
    """Of the same days and the same caller: every figure both have is the same, together and by team, also with other limits."""
    await seed(leads, random.Random(7), 150)
    options = BoardOptions(Measures(assigned_within=5 * MINUTE, contact_within=timedelta(hours=70)))
    for actor, measured in ((ALL, OPTIONS), (ALL, options), (BOSS, OPTIONS)):
        board = await boards.board(actor, options=measured)
        report = await get_report(
            partial(PostgresReportReader.begin, leads.database, leads.snapshots),
            actor,
            board.days.begin,
            board.days.end,
            now=leads.clock.now(),
            options=measured,
        )
        groups = [(board.total, report.total), *((each, report.teams[each.id]) for each in board.teams)]
        assert report.teams.keys() == {each.id for each in board.teams}
        for figures, counts in groups:
            assert (counts.leads, counts.answered) == (figures.leads, figures.responded), figures.id
            pairs = (
                (figures.assigned, counts.assigned_in_time, counts.assigned_late),
                (figures.contacted, counts.contact_in_time, counts.contact_late),
                (figures.on_time, counts.claimed_in_time, counts.claimed_late),
            )
            assert [(share.met, share.of) for share, _, _ in pairs] == [
                (met, met + not_met) for _, met, not_met in pairs
            ]
            if figures.wall:
                assert counts.response_mean_s == pytest.approx(figures.wall.mean_s)
        assert report.total.assigned_in_time, "nothing was compared"
        assert report.total.duty_desk_first > 0 or actor is BOSS


@pytest.mark.capability(37)
async def test_a_board_is_exported_as_rows(leads, boards) -> None:
    """The same figures, in minutes: everybody's, each team's, each person's; the personal board is what is to be done."""
    await seed(leads, random.Random(5), 60)

    async def rows(dataset, actor=ALL, criteria=None, **options):
        found = []
        async for part in stream_dataset(
            partial(PostgresDatasetReader.begin, leads.database, leads.snapshots),
            actor,
            dataset,
            options.pop("fields", ()),
            criteria or LeadFilter(),
            base_fields_only=options.pop("base_fields_only", False),
            options=OPTIONS,
            now=leads.clock.now(),
        ):
            found += [part] if isinstance(part, Head) else unpacked(part)
        head, *rest = found
        assert head.rows_total == len(rest)
        assert all(len(row) == len(head.columns) for row in rest)
        return [dict(zip([column.name for column in head.columns], row, strict=True)) for row in rest]

    board = await boards.board()
    whole, *others = await rows("lead-timeliness")
    assert (whole["group"], whole["leads"], whole["late"]) == ("全部", str(board.total.leads), str(board.total.late))
    assert whole["business_p90_min"] == f"{board.total.business.p90_s / 60:.1f}"
    assert whole["on_time_points"] == f"{15 * board.total.on_time.met / board.total.on_time.of:.1f}"
    assert [row["name"] for row in others if row["group"] == "个人"] == [each.name for each in board.people]
    assert {row["team"] for row in others} >= {"销售一部", "柏林", "未分配"}
    own = await rows("lead-timeliness", BOSS, fields=("name", "late"))
    assert {row["name"] for row in own} <= {"", "人a", "人b", "人boss"}
    base = await rows("lead-timeliness", base_fields_only=True)
    assert len(base[0]) == 12
    mine = await boards.personal(BOSS, "a")
    assert [row["lead_id"] for row in await rows("personal-board", BOSS, LeadFilter(owner_id="a"))] == [
        each.lead.id for each in mine.actions
    ]
    assert mine.actions
    with pytest.raises(InvalidRequestError):
        await rows("lead-timeliness", criteria=LeadFilter(stage="new"))


@pytest.mark.capability(42)
async def test_a_supervisor_sees_their_team_and_no_other(leads, boards) -> None:
    """The board, its lists and one person's board hold leads of the caller's own people; others are not there."""
    await seed(leads, random.Random(3), 70)
    whole, mine = await boards.board(), await boards.board(BOSS)
    assert {each.team_id for each in mine.people} == {"sales"}
    assert mine.people == tuple(each for each in whole.people if each.team_id == "sales")
    assert await boards.board(team_id="sales") == mine
    assert len(await boards.behind("late", BOSS)) == mine.total.late
    given = await boards.behind("leads", BOSS)
    hidden = {each.times.id for each in given if not each.name}
    assert hidden == {
        each.times.id for each in given if PEOPLE.get(each.present_owner_id, each.present_owner_id) in {"berlin", None}
    }
    assert hidden
    for query in ({"team_id": "berlin"}, {"owner_id": "c"}, {"team_id": "nowhere"}, {"owner_id": "nobody"}):
        with pytest.raises(NotFoundError):
            await boards.board(BOSS, **query)
    with pytest.raises(NotFoundError):
        await boards.personal(BOSS, "c")
    alone = await boards.board(Actor("a", Role.SALES, Scope.OWN))
    assert [each.id for each in alone.people] == ["a"]
    with pytest.raises(PayloadTooLargeError, match="at most 5 leads"):
        await boards.board(options=BoardOptions(leads_max=5))
    with pytest.raises(PermissionDeniedError):
        await boards.board(Actor("anna", Role.ONCALL, Scope.ALL))


async def test_a_lead_that_was_lost_is_on_the_board_of_that_day(leads, boards) -> None:
    """By whoever has it, with how long it had been here; a claim counts as the response though it was passed on since."""
    [captured] = await leads.capture(LeadDraft("甲", "官网", phone="+8613900000001", industry="医疗"))
    lead_id, owner_id = captured.lead_id, captured.assignment.decision.owner_id
    owner = Actor(owner_id, Role.SALES, Scope.OWN)
    await leads.clock.advance(10 * 60)
    await claim_lead(
        leads.begin_work, Keyed(owner_id, "claim", "", b""), owner, lead_id, now=leads.clock.now(), encode=done
    )
    await leads.admin.execute("UPDATE leads SET owner_id = 'boss', claimed_at = NULL, claim_by = NULL")
    await leads.admin.execute("UPDATE workloads SET open_leads = 1 WHERE person_id = 'boss'")
    await leads.clock.advance(20 * 60)
    boss = Actor("boss", Role.MANAGER, Scope.ALL)
    asked = Keyed("boss", "stage", "", b"")
    await change_stage(leads.begin_work, asked, boss, lead_id, "lost", "价格", now=leads.clock.now(), encode=done)
    board = await boards.board()
    assert (board.lost.by_industry(), board.lost.by_dwell()[0]) == ((("医疗", 1),), ("1小时内", 1))
    [person] = board.people
    assert (person.id, person.on_time.met, person.wall.mean_s) == (owner_id, 1, 600)


@pytest.mark.capability(101)
async def test_a_personal_board_shows_what_is_overdue_and_what_is_due(leads, boards) -> None:
    """Unclaimed past the limit and promised past its time are overdue, today's promises are due; tomorrow's are neither."""
    now = leads.clock.now()
    wanted = [("制造业", None), ("制造业", 80_000), ("制造业", 90_000), ("医疗", 600_000), ("医疗", 2_000_000)]
    found = await leads.capture(
        *(
            LeadDraft(f"客户{number}", "官网", phone=f"+8613900000{number:03d}", industry=industry, budget=budget)
            for number, (industry, budget) in enumerate(wanted)
        )
    )
    await leads.admin.execute("UPDATE leads SET owner_id = 'a', claim_by = $1", now + 9 * MINUTE)
    ids = [each.lead_id for each in found]
    for number, (each, due) in enumerate(zip(found[1:], (5, 60, 60, 24 * 60), strict=True)):
        await leads.admin.execute("UPDATE leads SET claimed_at = $2 WHERE id = $1", UUID(each.lead_id), now)
        lead, customer = UUID(each.lead_id), UUID(each.customer_id)
        await follow_up(leads, lead, customer, now - MINUTE, "先前的动作", now - MINUTE)
        await follow_up(leads, lead, customer, now, f"动作{number}", now + due * MINUTE)
    await leads.clock.advance(20 * 60)
    actor = Actor("a", Role.SALES, Scope.OWN)
    board = await boards.personal(actor)
    assert [(each.lead.id, each.action, each.overdue) for each in board.actions] == [
        (ids[1], "动作0", True),
        (ids[0], "", True),
        *sorted([(ids[2], "动作1", False), (ids[3], "动作2", False)]),
    ]
    assert (board.open_leads, board.overdue) == (5, 2)
    cells = {(cell.industry, cell.amount): (cell.leads, cell.overdue) for cell in board.cells}
    assert cells == {
        ("制造业", "未填写"): (1, 1),
        ("制造业", "10万以下"): (2, 1),
        ("医疗", "50-100万"): (1, 0),
        ("医疗", "100万以上"): (1, 0),
    }
    assert {cell.stage for cell in board.cells} == {"new"}
    assert await boards.personal(BOSS, "a") == board
