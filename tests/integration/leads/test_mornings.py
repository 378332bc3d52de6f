"""Boards each morning: once to each reader a day, whoever works, whatever dies."""

import asyncio
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1.events_pb2 import BoardReady
from services.leads.boards.morning.domain import days_told, next_morning
from services.leads.boards.morning.store import PostgresMorningStore
from services.leads.boards.morning.usecases import tell_boards
from services.leads.boards.usecases import BoardOptions
from services.leads.followups.usecases import claim_lead
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.organisation.domain import DUTY_DESK, Person
from services.leads.sla.calendar import Calendar
from services.leads.sla.calendars import load_holidays
from tests.integration.leads.conftest import HOLIDAYS

pytestmark = pytest.mark.capability(6, 101)

SHANGHAI = ZoneInfo("Asia/Shanghai")
AT = time(8, 30)
OPTIONS = BoardOptions()


@pytest.fixture
async def team(leads):
    """甲 and 乙 with three leads each and 主管 above them; somebody in Berlin; it is Monday 10:00 in Shanghai."""
    await leads.people(
        Person("1", "甲"), Person("2", "乙"), Person("boss", "主管", weight=0), Person("9", "丙", team_id="berlin")
    )
    await leads.admin.execute("UPDATE teams SET supervisor_id = 'boss' WHERE id = 'sales'")
    await leads.admin.execute("UPDATE teams SET time_zone = 'Europe/Berlin', supervisor_id = '9' WHERE id = 'berlin'")
    await leads.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    await leads.capture(*(LeadDraft(f"客户{n}", "官网", phone=f"+86139{n:08d}", company="恒力") for n in range(6)))
    return leads


async def work(replica, limit: int = 1, options: BoardOptions = OPTIONS) -> int:
    """Everything that is due."""
    told = 0
    begin = replica.begin(PostgresMorningStore)
    while due := await tell_boards(begin, AT, options, now=replica.clock.now(), limit=limit):
        told += len(due)
    return told


async def events(leads) -> list[BoardReady]:
    rows = await leads.rows("SELECT payload FROM outbox WHERE type LIKE '%BoardReady' ORDER BY position")
    return [BoardReady.FromString(row["payload"]) for row in rows]


async def until(leads, text: str) -> None:
    """Moves the clock to a moment of Shanghai."""
    wanted = datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)
    await leads.clock.advance((wanted - leads.clock.now()).total_seconds())


@pytest.mark.capability(127)
async def test_each_reader_is_told_once_a_morning_by_whichever_replica(team) -> None:
    """Tuesday at half past eight: the supervisor of how soon the team answered, each owner of what waits; Berlin sleeps on."""
    other = await team.another()
    assert await work(team) == 0
    await until(team, "2026-01-06 08:29:59")
    assert await work(team) == 1, (
        "nobody looked on Monday, when it was morning in Berlin: that day is not told any more"
    )
    assert await events(team) == []
    await until(team, "2026-01-06 08:30")
    assert sum(await asyncio.gather(*(work(each) for each in (team, other, team, other)))) + await work(team) == 1
    told = {(each.board, each.recipient_id): each for each in await events(team)}
    assert len(await events(team)) == len(told) == 3
    assert set(told) == {("lead-timeliness/sales", "boss"), ("personal", "1"), ("personal", "2")}
    board = told["lead-timeliness/sales", "boss"]
    assert (board.day, board.title) == ("2026-01-06", "线索时效看板 · 销售一部 · 01-06")
    assert "01-05：新线索 6 条，已响应 0 条" in board.body
    assert "超时 6 条" in board.body
    assert "甲 3 条" in board.body
    mine = told["personal", "1"]
    assert "在途线索 3 条，逾期 3 条，今天要做 3 件" in mine.body
    assert "【逾期】01-05 10:15 恒力 客户" in mine.body
    await until(team, "2026-01-06 15:30")
    assert await work(other) == 1, "it is half past eight in Berlin"
    assert [each.board for each in (await events(team))[3:]] == ["lead-timeliness/berlin"]


async def test_who_is_above_several_teams_is_told_of_each_group(team) -> None:
    """A head whose own team has nobody with leads hears of the teams below: together, and how soon each answered."""
    await team.people(Person("head", "总监", team_id="华东", weight=0), Person("3", "丁", team_id="二部"))
    await team.admin.execute("UPDATE teams SET supervisor_id = 'head' WHERE id = '华东'")
    await team.admin.execute("UPDATE teams SET parent_id = '华东' WHERE id IN ('sales', '二部')")
    await team.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    found = await team.capture(*(LeadDraft(f"客户{n}", "官网", phone=f"+86139{n:08d}") for n in range(6, 12)))
    for table, column in (("leads", "id"), ("assignments", "lead_id")):
        await team.admin.execute(
            f"UPDATE {table} SET owner_id = '3' WHERE {column} = ANY($1::uuid[])",
            [each.lead_id for each in found],
        )
    await team.clock.advance(12 * 60)
    actor = Actor("3", Role.SALES, Scope.OWN)
    await claim_lead(
        *(team.begin_work, Keyed("3", "claim", "", b""), actor, found[0].lead_id),
        now=team.clock.now(),
        encode=lambda _: b"",
    )
    await work(team)
    await until(team, "2026-01-06 08:30")
    await work(team)
    told = {each.recipient_id: each for each in await events(team) if each.board.startswith("lead-timeliness")}
    assert "新线索 12 条" in told["head"].body
    assert "各组（工作时间）：二部 6 条，平均 12 分钟；销售一部 6 条，尚无" in told["head"].body
    assert "各组" not in told["boss"].body, "of one team the total says it"


async def test_a_board_that_is_too_large_keeps_nobody_waiting(team) -> None:
    """Who has more leads than a board adds up is left out; the others of the team, and other teams, are told."""
    await team.admin.execute("UPDATE leads SET owner_id = '1' WHERE id <> (SELECT max(id::text)::uuid FROM leads)")
    await team.admin.execute("UPDATE leads SET owner_id = '2' WHERE owner_id <> '1'")
    await work(team)
    await until(team, "2026-01-06 08:30")
    assert await work(team, options=BoardOptions(leads_max=4)) == 2
    assert {each.recipient_id for each in await events(team) if each.board == "personal"} == {"2"}


async def test_a_morning_that_was_slept_through_is_told_late_or_not_at_all(team) -> None:
    """Back on the same day: told then; back on Saturday: nothing of Friday; Monday tells of Friday and the weekend."""
    await work(team)
    await until(team, "2026-01-08 11:00")
    assert await work(team) == 2
    assert {each.day for each in await events(team)} == {"2026-01-08"}
    count = len(await events(team))
    await until(team, "2026-01-10 11:00")
    assert await work(team) >= 1
    assert len(await events(team)) == count
    await until(team, "2026-01-12 08:30")
    assert await work(team) == 1
    last = (await events(team))[count:]
    assert {each.day for each in last} == {"2026-01-12"}
    assert any("01-09 至 01-11" in each.body for each in last if each.board == "lead-timeliness/sales")


async def test_what_a_process_did_not_live_to_commit_is_told_by_the_next(team) -> None:
    """It dies after the first board was written: nothing is out, then everything once. Nobody hears a day twice."""
    await work(team)
    await until(team, "2026-01-06 08:30")

    class Dying(PostgresMorningStore):
        async def move(self, team_id, due_at) -> None:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await tell_boards(team.begin(Dying), AT, BoardOptions(), now=team.clock.now(), limit=5)
    assert await events(team) == []
    await work(team)
    assert len(await events(team)) == 3
    # Somebody sets the morning back; who moves to a team whose morning comes later is known as well.
    await team.admin.execute("UPDATE board_mornings SET due_at = due_at - interval '1 day'")
    assert await work(team) == 2
    assert len(await events(team)) == 3


async def test_the_duty_desk_and_who_left_are_told_nothing(team) -> None:
    """Neither a desk's pile nor a leaver's leads make a board; the supervisor who left has none either."""
    await team.admin.execute("UPDATE leads SET owner_id = $1 WHERE owner_id = '1'", DUTY_DESK)
    await team.people(Person("2", "乙", active=False), Person("boss", "主管", active=False))
    await work(team)
    await until(team, "2026-01-06 08:30")
    assert await work(team) == 2
    assert await events(team) == []


def test_mornings_follow_the_calendar() -> None:
    """Before 春节 the next morning is after it; a make-up Saturday is a morning; the day after tells of all days since."""
    calendar = Calendar(SHANGHAI, load_holidays(HOLIDAYS))

    def after(text: str) -> str:
        now = datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)
        return next_morning(calendar, SHANGHAI, AT, now).astimezone(SHANGHAI).strftime("%m-%d %H:%M")

    assert after("2026-02-13 09:00") == "02-14 08:30"
    assert after("2026-02-14 08:29") == "02-14 08:30"
    assert after("2026-02-14 08:30") == "02-24 08:30"
    first, last = days_told(calendar, datetime(2026, 2, 24, tzinfo=SHANGHAI).date())
    assert (first.isoformat(), last.isoformat()) == ("2026-02-14", "2026-02-23")
    assert last - first == timedelta(days=9)
