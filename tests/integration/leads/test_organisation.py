"""Changing the organisation through its API: in force at once, told once, and nobody's leads are left behind."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis import outbox
from breakwater.chassis.bus import Bus
from breakwater.chassis.database import Database
from breakwater.chassis.errors import ConflictError, InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.inbox import Consumer, Received
from breakwater.chassis.outbox import OutboxEvent, Relay
from breakwater.identity.v1 import identity_pb2 as identity
from breakwater.leads.v1 import leads_pb2
from breakwater.leads.v1 import organisation_pb2 as pb
from breakwater.notify.v1.events_pb2 import BindingChanged
from services.leads.api.organisation import DirectoryApi, OrganisationApi
from services.leads.boards.personal.store import PostgresPersonalReader
from services.leads.boards.personal.usecases import get_personal_board
from services.leads.boards.usecases import BoardOptions
from services.leads.consumer import NotifyEvents
from services.leads.followups.usecases import change_stage
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.organisation.availability import AvailabilityWatch
from services.leads.organisation.checks import LEAVES_MAX
from services.leads.organisation.domain import DUTY_DESK, Person
from services.leads.routing.rerouting import reroute_waiting_leads

ADMIN = identity.Actor(sub="admin", role=identity.ROLE_ADMIN, scope=identity.SCOPE_ALL)
SALES = identity.Actor(sub="1", role=identity.ROLE_SALES, scope=identity.SCOPE_ALL)
HEAD = identity.Actor(sub="head", role=identity.ROLE_MANAGER, scope=identity.SCOPE_TEAM)


@pytest.fixture
def api(leads) -> DirectoryApi:
    """The servicer, over the real database."""
    return DirectoryApi(leads.begin_people, leads.begin_organisation, leads.clock)


def put(person_id: str, *, actor: identity.Actor = ADMIN, **fields) -> pb.PutPersonRequest:
    known = {"name": f"某{person_id}", "team_id": "sales", "active": True, "has_account": True, "weight": 1}
    return pb.PutPersonRequest(actor=actor, id=person_id, **{**known, "may_follow_up": True, "on_duty": True, **fields})


def stamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def drafts(count: int, first: int = 0) -> list[LeadDraft]:
    return [LeadDraft(f"客户{n}", "官网", phone=f"+86137{n:08d}") for n in range(first, first + count)]


async def owners(leads, count: int = 4, first: int = 0) -> set[str]:
    """Who gets the next leads."""
    return {each.owner_id for each in await leads.capture(*drafts(count, first))}


async def watch(leads) -> AvailabilityWatch:
    return AvailabilityWatch(leads.database, leads.snapshots.directory, leads.clock, poll_s=1e6)


@pytest.mark.capability(4, 118, 119)
async def test_a_change_of_a_person_is_in_force_at_once_and_told_once(leads, api) -> None:
    """The next transaction routes by it; the same again changes nothing and tells nobody."""
    created = await api.PutPerson(put("1", rank=6, city_codes=["310000"], leads_per_day_max=3), None)
    assert (created.created, created.person.rank, created.person.leads_per_day_max) == (True, 6, 3)
    assert created.person.sequence == 1
    assert await owners(leads) == {"1", DUTY_DESK}, "three today, and the fourth is over the limit"
    again = await api.PutPerson(put("1", rank=6, city_codes=["310000"], leads_per_day_max=3), None)
    assert (again.created, again.person.leads_today, again.person.reason_against) == (False, 3, "今日线索已满（3/3）")
    await api.PutPerson(put("1", may_follow_up=False, expected_sequence=1), None)
    assert await owners(leads, first=10) == {DUTY_DESK}
    with pytest.raises(ConflictError):
        await api.PutPerson(put("1", rank=7, expected_sequence=1), None)
    assert await leads.events("1") == [("PersonChanged", 1), ("PersonChanged", 2)]


async def test_a_page_of_people_reads_the_organisation_only_when_it_has_changed(leads, api) -> None:
    """Thousands of people are not read again for each page; what moves the version is shown with the next one."""

    async def names() -> set[str]:
        page = await OrganisationApi(leads.begin_people, leads.clock).ListPeople(
            leads_pb2.ListPeopleRequest(actor=ADMIN), None
        )
        return {each.name for each in page.people}

    await api.PutPerson(put("1", name="甲"), None)
    assert "甲" in await names()
    await leads.admin.execute("UPDATE people SET name = '乙' WHERE id = '1'")
    assert "甲" in await names()
    await api.PutPerson(put("2"), None)
    assert "乙" in await names()


@pytest.mark.capability(119)
async def test_a_missing_binding_keeps_from_leads_where_the_organisation_says_so(leads, api) -> None:
    """In-app will do until a channel is required; then only who has bound it, as notify tells, in any order."""
    await leads.people(Person("1", "甲"), Person("2", "乙"))
    assert await owners(leads) == {"1", "2"}
    wanted = pb.Organisation(channels_required=["wecom", "feishu"])
    await api.PutOrganisation(pb.PutOrganisationRequest(actor=ADMIN, organisation=wanted), None)
    assert await owners(leads, first=10) == {DUTY_DESK}
    found = await api.ListFindings(pb.ListFindingsRequest(actor=ADMIN), None)
    unbound = {each.person_id for each in found.findings if each.kind == "channel_unbound" and each.keeps_from_leads}
    assert {"1", "2"} <= unbound

    async def tell(person_id: str, channel: str, *, bound: bool, sequence: int) -> None:
        told = BindingChanged(person_id=person_id, channel=channel, bound=bound)
        event = Received(
            id=f"{person_id}-{sequence}",
            type=BindingChanged.DESCRIPTOR.full_name,
            subject_id=person_id,
            sequence=sequence,
            time=leads.clock.now(),
            data=told.SerializeToString(),
            traceparent=None,
        )
        async with leads.database.transaction() as tx:
            await NotifyEvents().batch_handlers()[BindingChanged.DESCRIPTOR.full_name](tx, [event])

    await tell("2", "wecom", bound=True, sequence=3)
    await tell("2", "wecom", bound=False, sequence=2)
    await tell("1", "dingtalk", bound=True, sequence=1)
    assert await owners(leads, first=20) == {"2"}
    version = await leads.value("SELECT version FROM snapshot_version")
    await tell("2", "wecom", bound=True, sequence=4)
    assert await leads.value("SELECT version FROM snapshot_version") == version, "nothing changed, nothing is read anew"
    await tell("2", "wecom", bound=False, sequence=5)
    assert await owners(leads, first=30) == {DUTY_DESK}


@pytest.mark.capability(118)
async def test_who_is_on_leave_gets_nothing_until_it_ends_or_is_taken_back(leads, api) -> None:
    """A replay adds no second leave; each change of leave is told with the person's next sequence."""
    await leads.people(Person("1", "甲"), Person("2", "乙"))
    now = leads.clock.now()
    request = pb.AddLeaveRequest(
        actor=ADMIN,
        idempotency=identity.Idempotency(key="k", body_hmac=b"b"),
        person_id="1",
        starts_at=stamp(now),
        ends_at=stamp(now + timedelta(days=3)),
        reason="年假",
    )
    added = await api.AddLeave(request, None)
    replay = await api.AddLeave(request, None)
    assert (replay.replayed, replay.leave) == (True, added.leave)
    assert await owners(leads) == {"2"}
    person = (await api.GetPerson(pb.GetPersonRequest(actor=ADMIN, id="1"), None)).person
    assert ([leave.reason for leave in person.leave], person.reason_against) == (["年假"], "休假")
    removal = pb.RemoveLeaveRequest(actor=ADMIN, person_id="1", leave_id=added.leave.id)
    await api.RemoveLeave(removal, None)
    assert await owners(leads, first=10) == {"1", "2"}
    with pytest.raises(NotFoundError):
        await api.RemoveLeave(removal, None)
    assert await leads.events("1") == [("PersonChanged", 1), ("PersonChanged", 2), ("PersonChanged", 3)]
    with pytest.raises(InvalidRequestError):
        await api.AddLeave(pb.AddLeaveRequest(actor=ADMIN, person_id="1"), None)


@pytest.mark.capability(7)
async def test_what_answering_in_time_weighs_is_the_organisations_to_say(leads, api) -> None:
    """A KPI of at least 15 %: as data, in force on everybody's board at once, and never less."""
    await leads.people(Person("1", "甲"))

    async def weight() -> float:
        actor = Actor("1", Role.SALES, Scope.OWN)
        board = await get_personal_board(
            leads.begin(PostgresPersonalReader), actor, "1", now=leads.clock.now(), options=BoardOptions()
        )
        return board.measures.on_time_weight

    assert await weight() == 0.15
    wanted = pb.Organisation(on_time_weight=0.4)
    put = await api.PutOrganisation(pb.PutOrganisationRequest(actor=ADMIN, organisation=wanted), None)
    shown = await api.GetOrganisation(pb.GetOrganisationRequest(actor=SALES), None)
    assert (await weight(), put.organisation.on_time_weight, shown.organisation) == (0.4, 0.4, put.organisation)


async def test_a_persons_leaves_are_bounded(leads, api) -> None:
    """The directory is read whole by every process, so nobody fills it."""
    await leads.people(Person("1", "甲"))
    await leads.admin.execute(
        "INSERT INTO leaves SELECT gen_random_uuid(), '1', now(), now() + '1 day', '', 'x', now()"
        f" FROM generate_series(1, {LEAVES_MAX})"
    )
    now = leads.clock.now()
    request = pb.AddLeaveRequest(
        actor=ADMIN, person_id="1", starts_at=stamp(now), ends_at=stamp(now + timedelta(days=1))
    )
    with pytest.raises(ConflictError):
        await api.AddLeave(request, None)


@pytest.mark.capability(118, 125)
async def test_room_that_was_taken_and_came_back_between_two_looks_is_noticed(leads) -> None:
    """Full, a lead waits, room again, all within one look: the lead goes to them."""
    await leads.people(Person("1", "甲", open_leads_max=1))
    watching = await watch(leads)
    assert await watching.look() == {"1"}
    first, waiting = await leads.capture(*drafts(2))
    assert (first.owner_id, waiting.owner_id) == ("1", DUTY_DESK)
    await change_stage(
        leads.begin_work,
        *(Keyed("1", "ChangeStage", "", b""), Actor("1", Role.SALES, Scope.OWN), first.lead_id, "lost", "无预算"),
        now=leads.clock.now(),
        encode=lambda _: b"",
    )
    await watching.look()
    await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100)
    assert await leads.value("SELECT owner_id FROM leads WHERE id = $1", waiting.lead_id) == "1"


@pytest.mark.capability(118, 125)
async def test_leads_that_waited_go_to_people_when_their_hours_begin(leads, api) -> None:
    """The clock moves no version: the watch does, once for all replicas, and only when somebody became able."""
    # It is Monday 10:00; the person works from 14:00.
    shift = leads_pb2.Shift(weekday=1, start_min=14 * 60, end_min=18 * 60)
    await api.PutPerson(put("1", duty=[shift]), None)
    assert await owners(leads) == {DUTY_DESK}
    watches = [await watch(leads), await watch(await leads.another())]
    for each in watches:
        await each.look()

    async def reroute() -> int:
        return await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100)

    await reroute()
    await leads.clock.advance((4 * 60 - 1) * 60)
    assert [await each.look() for each in watches] == [frozenset(), frozenset()]
    assert await reroute() == 0
    await leads.clock.advance(60)
    assert [await each.look() for each in watches] == [{"1"}, frozenset()]
    assert await reroute() == 4
    assert await leads.value("SELECT count(*) FROM leads WHERE owner_id = '1' AND NOT waiting") == 4
    await leads.clock.advance(4 * 3600)
    assert await owners(leads, first=10) == {DUTY_DESK}, "after work nothing comes any more"
    await leads.admin.execute("UPDATE leads SET stage = 'closed'")
    await watches[0].look()
    version = await leads.value("SELECT version FROM snapshot_version")
    await leads.clock.advance((6 * 24 + 20) * 3600)
    assert await watches[0].look() == {"1"}
    assert await leads.value("SELECT version FROM snapshot_version") == version, (
        "no lead waits, so nothing is read anew"
    )


@pytest.mark.capability(116, 118, 125)
async def test_all_leads_of_a_leaver_go_to_others_and_no_customer_is_split(leads, api) -> None:
    """500 leads of 300 customers, some of which nobody can take any more: one owner each, loads add up, each told once."""
    await leads.people(Person("1", "甲"))
    await leads.capture(*drafts(300), *drafts(200))
    await leads.people(Person("2", "乙", open_leads_max=150), Person("3", "丙", weight=2))
    second = await leads.another()
    await api.PutPerson(put("1", active=False), None)
    moved = 0
    while taken := await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=64):
        moved += taken
        moved += await reroute_waiting_leads(second.begin_rerouting, now=leads.clock.now(), limit=64)
    assert moved == 500
    rows = await leads.rows("SELECT owner_id, count(*) FROM leads GROUP BY 1")
    held = {row["owner_id"]: row["count"] for row in rows}
    assert set(held) == {"2", "3"}
    loads = {row["person_id"]: row["open_leads"] for row in await leads.rows("SELECT * FROM workloads")}
    assert {person_id: load for person_id, load in loads.items() if load} == held
    split = await leads.value(
        "SELECT count(*) FROM leads JOIN customers c ON c.id = customer_id WHERE c.owner_id IS DISTINCT FROM leads.owner_id"
    )
    assert split == 0
    told = await leads.rows(
        "SELECT subject_id FROM outbox WHERE type LIKE '%LeadAssigned' ORDER BY position OFFSET 500"
    )
    assert set(Counter(row["subject_id"] for row in told).values()) == {1}, "each lead was given away once"
    assert len(told) == 500


@pytest.mark.capability(4)
async def test_teams_form_a_tree_and_escalation_climbs_it(leads, api) -> None:
    """A supervisor who left is passed over for the one above; a circle is refused."""
    await leads.people(Person("1", "甲"), Person("head", "部门主管", weight=0), Person("chief", "总监", weight=0))
    base = {"name": "华东", "time_zone": "Asia/Shanghai", "work_start_min": 540, "work_end_min": 1080}

    async def team(team_id: str, **fields) -> pb.PutTeamResponse:
        wanted = pb.Team(id=team_id, **{**base, **fields})
        return await api.PutTeam(pb.PutTeamRequest(actor=ADMIN, team=wanted), None)

    assert (await team("company", name="公司", supervisor_id="chief")).created
    await team("sales", supervisor_id="head", parent_id="company", lunch_start_min=720, lunch_end_min=780)
    with pytest.raises(InvalidRequestError) as caught:
        await team("company", supervisor_id="nobody", parent_id="sales", time_zone="Mars/Base")
    assert {error.field for error in caught.value.errors} == {"supervisor_id", "parent_id", "time_zone"}

    async def supervisor() -> str:
        return (await api.GetPerson(pb.GetPersonRequest(actor=ADMIN, id="1"), None)).person.supervisor_id

    assert await supervisor() == "head"
    await api.PutPerson(put("head", active=False, weight=0), None)
    assert await supervisor() == "chief"
    found = await api.ListFindings(pb.ListFindingsRequest(actor=ADMIN), None)
    assert ("team_supervisor_gone", "sales") in {(each.kind, each.team_id) for each in found.findings}
    teams = (await api.ListTeams(pb.ListTeamsRequest(actor=ADMIN, limit=1), None)).teams
    assert [(each.id, each.members) for each in teams] == [("company", 0)]


@pytest.mark.capability(42)
async def test_managers_change_their_own_teams_and_salespeople_nothing(leads, api) -> None:
    """Who is not seen is not found; teams and settings take scope all."""
    await leads.people(Person("1", "甲"), Person("head", "主管", weight=0), Person("far", "远", team_id="north"))
    await leads.admin.execute("UPDATE teams SET supervisor_id = 'head' WHERE id = 'sales'")
    assert (await api.PutPerson(put("1", actor=HEAD, rank=3), None)).person.rank == 3
    assert (await api.PutPerson(put("new", actor=HEAD), None)).created
    for request, refusal in (
        (put("far", actor=HEAD), NotFoundError),
        (put("1", actor=HEAD, team_id="north"), PermissionDeniedError),
        (put("1", actor=SALES), PermissionDeniedError),
        (put("1", team_id="nowhere"), InvalidRequestError),
        (put("1", supervisor_id="1"), InvalidRequestError),
        (put("findings"), InvalidRequestError),
        (put("1", weight=-1), InvalidRequestError),
    ):
        with pytest.raises(refusal):
            await api.PutPerson(request, None)
    with pytest.raises(PermissionDeniedError):
        await api.PutOrganisation(pb.PutOrganisationRequest(actor=HEAD), None)
    with pytest.raises(PermissionDeniedError):
        await api.PutTeam(pb.PutTeamRequest(actor=HEAD), None)
    with pytest.raises(InvalidRequestError) as caught:
        pigeons = pb.Organisation(channels_required=["pigeon"], on_time_weight=0.14)
        await api.PutOrganisation(pb.PutOrganisationRequest(actor=ADMIN, organisation=pigeons), None)
    assert {error.field for error in caught.value.errors} == {"channels_required", "on_time_weight"}
    seen = await OrganisationApi(leads.begin_people, leads.clock).ListPeople(
        leads_pb2.ListPeopleRequest(actor=HEAD), None
    )
    assert {each.id for each in seen.people} >= {"1", "new", "head"}
    assert "far" not in {each.id for each in seen.people}


@pytest.mark.capability(119)
async def test_a_binding_travels_from_notify_over_nats(leads, fresh_database, clean_nats, eventually) -> None:
    """The real outbox of one service, the real inbox of the other, each with its own user: the third step arrives once."""
    await leads.people(Person("1", "甲"))
    place = await fresh_database("notify")
    async with AsyncExitStack() as stack:

        async def bus(service: str) -> Bus:
            opened = await Bus.connect(
                clean_nats.url, service=service, user=service, password=clean_nats.password(service)
            )
            stack.push_async_callback(opened.close)
            return opened

        notify = await Database.open(place.url, service="notify", password=place.password)
        stack.push_async_callback(notify.close)
        receiving = Consumer(
            await bus("leads"),
            leads.database,
            stream="NOTIFY",
            durable="leads",
            batch_handlers=NotifyEvents().batch_handlers(),
        )
        workers = [asyncio.create_task(each.run()) for each in (Relay(notify, await bus("notify")), receiving)]
        try:
            for sequence, bound in ((1, True), (2, False), (3, True)):
                event = BindingChanged(person_id="1", channel="feishu", bound=bound)
                async with notify.transaction() as tx:
                    await outbox.add(tx, [OutboxEvent.of(event, subject_id="1/feishu", sequence=sequence)])
            last = "SELECT bound FROM person_channels WHERE person_id = '1' AND channel = 'feishu' AND sequence = 3"
            assert await eventually(lambda: leads.value(last), timeout_s=60)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    async with leads.begin_people() as reader:
        assert (await reader.directory()).people["1"].channels == {"feishu"}
