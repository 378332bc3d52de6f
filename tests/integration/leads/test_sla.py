"""First-touch limits, calendars, clocks and the report, as the gateway asks for them."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from breakwater.chassis.errors import ConflictError, InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.wire import actor_from
from breakwater.identity.v1 import identity_pb2 as identity
from breakwater.leads.v1 import sla_pb2 as pb
from services.leads.api.sla import SlaApi, SlaStores
from services.leads.boards.domain import Share
from services.leads.boards.personal.store import PostgresPersonalReader
from services.leads.boards.personal.usecases import get_personal_board
from services.leads.boards.report.store import PostgresReportReader
from services.leads.boards.usecases import BoardOptions
from services.leads.followups.domain import FollowUp
from services.leads.followups.reading import get_lead_now
from services.leads.followups.usecases import add_follow_up, claim_lead
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.organisation.domain import Person
from services.leads.sla.calendar import Holidays
from services.leads.sla.calendars import load_holidays
from services.leads.sla.pauses.store import PostgresClockStore
from services.leads.sla.policies.store import PostgresPolicyStore
from services.leads.sla.silence.domain import SilenceLimits
from services.leads.sla.silence.store import PostgresSilenceStore
from services.leads.sla.silence.usecases import tell_silences
from services.leads.sla.usecases import fire_due_timers
from tests.integration.leads.conftest import HOLIDAYS

ADMIN = identity.Actor(sub="a", role=identity.ROLE_ADMIN, scope=identity.SCOPE_ALL)
OWNER = identity.Actor(sub="1", role=identity.ROLE_SALES, scope=identity.SCOPE_OWN)
COLLEAGUE = identity.Actor(sub="2", role=identity.ROLE_SALES, scope=identity.SCOPE_OWN)
ONCALL = identity.Actor(sub="o", role=identity.ROLE_ONCALL, scope=identity.SCOPE_ALL)
NO_KEY = Keyed("1", "Test", "", b"")
MINUTE = timedelta(minutes=1)


def sla_of(leads: Any, holidays: Holidays | None = None) -> SlaApi:
    stores = SlaStores(
        policies=partial(PostgresPolicyStore.begin, leads.database),
        clocks=leads.begin(PostgresClockStore),
        report=leads.begin(PostgresReportReader),
    )
    return SlaApi(stores, holidays or load_holidays(HOLIDAYS), leads.clock, BoardOptions())


@pytest.fixture
async def sla(leads) -> SlaApi:
    """The servicer, with two people in the rotation."""
    await leads.people(Person("1", "甲"), Person("2", "乙", weight=0))
    return sla_of(leads)


async def put(sla: SlaApi, document: dict[str, Any], version: int = 0, actor: Any = ADMIN) -> pb.SlaPolicies:
    request = pb.PutSlaPoliciesRequest(actor=actor, document=ParseDict(document, Struct()), expected_version=version)
    return (await sla.PutSlaPolicies(request, None)).policies


async def timer(leads: Any) -> Any:
    return (await leads.rows("SELECT * FROM first_touch_timers"))[0]


async def capture(leads: Any, number: int = 1, source: str = "官网") -> str:
    [captured] = await leads.capture(LeadDraft(f"客户{number}", source, phone=f"+86139{number:08d}"))
    return captured.lead_id


def at(moment: Any) -> datetime:
    return moment.ToDatetime(UTC)


@pytest.mark.capability(5, 40)
async def test_policies_are_versions_in_force_with_the_next_lead(leads, sla) -> None:
    """By team and source, with the team's own week and zone; every replica's next decision has them."""
    other = await leads.another()
    await other.people(Person("1", "甲"))
    document = {
        "policies": [{"claim_min": 15, "work_min": 120}, {"source": "展会", "claim_min": 60, "work_min": 90}],
        "calendars": [
            {"team": "sales", "time_zone": "Europe/Berlin", "week": {"mon": ["08:00-12:00"]}, "public_holidays": "none"}
        ],
    }
    kept = await put(sla, document, version=1)
    assert (kept.version, kept.author) == (2, "a")
    assert MessageToDict((await sla.GetSlaPolicies(pb.GetSlaPoliciesRequest(actor=OWNER), None)).policies.document) == (
        MessageToDict(kept.document)
    )
    # Monday 10:00 in Shanghai is 03:00 in Berlin, where work begins at 08:00.
    for replica, number, source, claim_by in ((leads, 1, "官网", "07:15"), (other, 2, "展会", "08:00")):
        lead_id = await capture(replica, number, source)
        kept_by = await leads.value("SELECT claim_by FROM leads WHERE id = $1", lead_id)
        assert kept_by.strftime("%H:%M") == claim_by


@pytest.mark.capability(5)
async def test_policies_with_a_mistake_are_refused_with_its_place(sla) -> None:
    """Nothing of them is in force; another's version is not overwritten; sales and on-call change nothing."""
    with pytest.raises(InvalidRequestError) as refused:
        await put(sla, {"policies": [{"team": "nowhere", "claim_min": 15, "work_min": 120}]})
    assert [error.field for error in refused.value.errors] == ["policies[0].team", "policies"]
    good = {"policies": [{"claim_min": 1, "work_min": 2}]}
    with pytest.raises(ConflictError):
        await put(sla, good, version=7)
    with pytest.raises(PermissionDeniedError):
        await put(sla, good, actor=OWNER)
    with pytest.raises(PermissionDeniedError):
        await sla.GetSlaPolicies(pb.GetSlaPoliciesRequest(actor=ONCALL), None)
    assert (await sla.GetSlaPolicies(pb.GetSlaPoliciesRequest(actor=OWNER), None)).policies.version == 1


@pytest.mark.capability(5)
async def test_policies_say_until_when_holidays_are_known(leads, sla) -> None:
    """Past that day whoever looks sees it; due times go on by the week."""
    request = pb.GetSlaPoliciesRequest(actor=OWNER)
    told = (await sla.GetSlaPolicies(request, None)).policies
    assert (told.holidays_known_until, told.holidays_known) == ("2026-12-31", True)
    old = sla_of(leads, Holidays(known_until=leads.clock.now().date() - timedelta(days=1)))
    assert not (await old.GetSlaPolicies(request, None)).policies.holidays_known


@pytest.mark.capability(5)
async def test_a_paused_clock_stands_and_runs_on_with_what_was_left(leads, sla) -> None:
    """Nothing is due meanwhile; who stopped it, why, and who let it run again are kept."""
    lead_id = await capture(leads)
    await leads.clock.advance(6 * 60)
    begun = leads.clock.now()
    pause = pb.PauseLeadClockRequest(actor=OWNER, lead_id=lead_id, reason=" 等待第三方检测 ")
    standing = (await sla.PauseLeadClock(pause, None)).clock
    assert (at(standing.paused_at), standing.HasField("due_at")) == (begun, False)
    await leads.clock.advance(3 * 3600)
    assert await fire_due_timers(leads.begin_timers, now=leads.clock.now(), limit=10) == []
    again = (await sla.PauseLeadClock(pause, None)).clock
    assert again == standing
    for _ in range(2):
        running = (await sla.ResumeLeadClock(pb.ResumeLeadClockRequest(actor=ADMIN, lead_id=lead_id), None)).clock
        assert at(running.due_at) == leads.clock.now() + 9 * MINUTE
        assert at(running.remind_at) == leads.clock.now() + 4 * MINUTE
    assert await leads.value("SELECT claim_by FROM leads") == at(running.due_at)
    [kept] = running.pauses
    assert (kept.paused_by, kept.reason, kept.resumed_by, at(kept.resumed_at)) == (
        *("1", "等待第三方检测", "a"),
        leads.clock.now(),
    )
    # The second stage begins where the first did, less the pause: 120 minutes, of which 15 are over when it is told.
    await leads.clock.advance(9 * 60)
    await fire_due_timers(leads.begin_timers, now=leads.clock.now(), limit=10)
    assert (await timer(leads))["due_at"] == leads.clock.now() + 105 * MINUTE


@pytest.mark.capability(5, 7, 104)
@pytest.mark.parametrize("answer", ["claim", "follow-up"])
async def test_a_lead_whose_clock_stands_is_late_nowhere(leads, sla, answer) -> None:
    """Neither as it stands, nor on its owner's board, nor in the KPI; who answers it meanwhile answered in time."""
    lead_id = await capture(leads)
    await leads.clock.advance(10 * 60)
    await sla.PauseLeadClock(pb.PauseLeadClockRequest(actor=OWNER, lead_id=lead_id, reason="客户出差"), None)
    await leads.clock.advance(3600)
    owner, begin_board = actor_from(OWNER), leads.begin(PostgresPersonalReader)

    async def seen() -> tuple[Any, ...]:
        now = leads.clock.now()
        _, status = await get_lead_now(leads.begin_follow_ups, owner, lead_id, now=now)
        board = await get_personal_board(begin_board, owner, "", now=now, options=BoardOptions())
        return status.overdue, board.overdue, board.actions, board.timeliness.on_time

    assert await seen() == (False, 0, [], Share(0, 0))
    common = {"now": leads.clock.now(), "encode": lambda _: b""}
    if answer == "claim":
        await claim_lead(leads.begin_work, NO_KEY, owner, lead_id, **common)
    else:
        record = FollowUp("确认", "出差", "再联系", leads.clock.now() + timedelta(days=9), "无", pain_tags=("无",))
        await add_follow_up(leads.begin_work, NO_KEY, owner, lead_id, record, **common)
    await leads.clock.advance(3600)
    assert (await seen())[-1] == Share(1, 1)


@pytest.mark.capability(5, 117)
async def test_a_pause_does_not_stop_the_24_h_alarm(leads, sla) -> None:
    """Nobody can make a lead quiet; the clock shows since when it is silent."""
    lead_id = await capture(leads)
    await sla.PauseLeadClock(pb.PauseLeadClockRequest(actor=OWNER, lead_id=lead_id, reason="等"), None)
    await leads.clock.advance(24 * 3600)
    begin = partial(PostgresSilenceStore.begin, leads.database)
    assert len(await tell_silences(begin, limits=SilenceLimits(), now=leads.clock.now(), limit=10)) == 1
    clock = (await sla.GetLeadClock(pb.GetLeadClockRequest(actor=OWNER, lead_id=lead_id), None)).clock
    assert (clock.alarms, at(clock.silent_since)) == (1, leads.clock.now() - timedelta(hours=24))


async def test_a_paused_clock_is_claimed_and_moved_on(leads, sla) -> None:
    """A claim while it stands moves it to the second stage; a new owner's clock begins anew and runs."""
    lead_id = await capture(leads)
    await leads.clock.advance(10 * 60)
    await sla.PauseLeadClock(pb.PauseLeadClockRequest(actor=OWNER, lead_id=lead_id, reason="等"), None)
    await leads.clock.advance(3600)
    claim = partial(claim_lead, leads.begin_work, NO_KEY)
    await claim(actor_from(OWNER), lead_id, now=leads.clock.now(), encode=lambda lead: lead.id.encode())
    assert await fire_due_timers(leads.begin_timers, now=leads.clock.now(), limit=10) == []
    running = (await sla.ResumeLeadClock(pb.ResumeLeadClockRequest(actor=OWNER, lead_id=lead_id), None)).clock
    assert (running.stage, at(running.due_at)) == (2, leads.clock.now() + 110 * MINUTE)


@pytest.mark.capability(42)
async def test_only_who_sees_a_lead_stops_its_clock(leads, sla) -> None:
    """A colleague does not know of it, a reason is asked for, and a clock that is gone is a conflict."""
    lead_id = await capture(leads)
    for refused, error in (
        (pb.PauseLeadClockRequest(actor=COLLEAGUE, lead_id=lead_id, reason="等"), NotFoundError),
        (pb.PauseLeadClockRequest(actor=OWNER, lead_id="x", reason="等"), NotFoundError),
        (pb.PauseLeadClockRequest(actor=OWNER, lead_id=lead_id, reason=" "), InvalidRequestError),
        (pb.PauseLeadClockRequest(actor=ONCALL, lead_id=lead_id, reason="等"), PermissionDeniedError),
    ):
        with pytest.raises(error):
            await sla.PauseLeadClock(refused, None)
    await leads.admin.execute("DELETE FROM first_touch_timers")
    with pytest.raises(ConflictError):
        await sla.ResumeLeadClock(pb.ResumeLeadClockRequest(actor=OWNER, lead_id=lead_id), None)
    clock = (await sla.GetLeadClock(pb.GetLeadClockRequest(actor=OWNER, lead_id=lead_id), None)).clock
    assert clock.stage == 0


@pytest.mark.capability(2, 7, 43, 63, 117)
async def test_the_report_measures_assignment_contact_and_alarms(leads, sla) -> None:
    """Four leads: followed up in 4 minutes, claimed in an hour, nobody's for a day, just come in."""
    actor = identity.Actor(sub="1", role=identity.ROLE_SALES, scope=identity.SCOPE_ALL)
    since = leads.clock.now()
    first, second = await capture(leads, 1), await capture(leads, 2)
    await leads.admin.execute("UPDATE people SET active = false WHERE id IN ('1', 'duty-desk')")
    await leads.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    await capture(leads, 3)
    await leads.admin.execute("UPDATE people SET active = true")
    await leads.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    await leads.clock.advance(4 * 60)
    record = FollowUp(
        *("确认", "贵"),
        next_action="报价",
        next_action_due=leads.clock.now() + timedelta(days=1),
        objection="价格",
        pain_tags=("成本高",),
    )
    await add_follow_up(
        *(leads.begin_work, NO_KEY, actor_from(actor), first, record),
        now=leads.clock.now(),
        encode=lambda kept: kept.id.encode(),
    )
    await leads.clock.advance(56 * 60)
    await claim_lead(
        *(leads.begin_work, NO_KEY, actor_from(actor), second),
        now=leads.clock.now(),
        encode=lambda lead: lead.id.encode(),
    )
    await leads.clock.advance(47 * 3600)
    begin = partial(PostgresSilenceStore.begin, leads.database)
    await tell_silences(begin, limits=SilenceLimits(), now=leads.clock.now(), limit=10)
    await leads.clock.advance(1)
    await capture(leads, 4)
    request = pb.GetSlaReportRequest(actor=ADMIN)
    request.since.FromDatetime(since)
    request.until.FromDatetime(leads.clock.now() + MINUTE)
    report = await sla.GetSlaReport(request, None)
    counts = report.all
    assert (counts.leads, counts.assigned_in_time, counts.assigned_late, counts.duty_desk_first) == (4, 3, 1, 0)
    assert (counts.contact_in_time, counts.contact_late) == (1, 2)
    assert (counts.claimed_in_time, counts.claimed_late) == (1, 1)
    assert (counts.answered, counts.answered_in_5_min, counts.answered_in_2_h) == (2, 1, 2)
    assert counts.response_mean_s == (4 + 60) / 2 * 60
    assert (counts.silent, counts.alarmed) == (2, 2)
    assert [(check.id, check.met_by, check.of, check.met) for check in report.checks] == [
        *((43, 3, 4, False), (63, 1, 3, False), (117, 2, 2, True)),
    ]
    assert {team.team_id: team.leads for team in report.teams} == {"": 1, "sales": 3}


async def test_a_report_is_bounded_and_of_what_one_may_see(leads, sla) -> None:
    """At most 92 days; a colleague's leads are not in it."""
    await capture(leads)
    mine = await sla.GetSlaReport(pb.GetSlaReportRequest(actor=COLLEAGUE), None)
    assert mine.all.leads == 0
    request = pb.GetSlaReportRequest(actor=ADMIN)
    request.since.FromDatetime(leads.clock.now() - timedelta(days=93))
    with pytest.raises(InvalidRequestError):
        await sla.GetSlaReport(request, None)
