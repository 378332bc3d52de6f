"""Working on leads: claims, follow-ups, stages, scopes and replays."""

import asyncio
from datetime import timedelta

import pytest

from breakwater.chassis.errors import (
    ConflictError,
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.followups.domain import FollowUp
from services.leads.followups.usecases import add_follow_up, change_stage, claim_lead
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.intake.usecases import (
    CreateRequest,
    LeadFilter,
    create_leads,
    get_customer,
    get_lead,
    list_assignments,
    list_leads,
)
from services.leads.organisation.domain import Person
from services.leads.organisation.usecases import list_people

OWNER = Actor("1", Role.SALES, Scope.OWN)
COLLEAGUE = Actor("2", Role.SALES, Scope.OWN)
BOSS = Actor("boss", Role.MANAGER, Scope.TEAM)
EVERYBODY = Actor("ops", Role.SERVICE, Scope.ALL)
NO_KEY = Keyed("1", "Test", "", b"")


def draft(number: int = 1) -> LeadDraft:
    return LeadDraft(f"客户{number}", "官网", phone=f"+86139{number:08d}")


@pytest.fixture
async def owned(leads):
    """A lead that person 1 has."""
    await leads.people(Person("1", "甲"), Person("2", "乙", weight=0), Person("boss", "主管", team_id="管理", weight=0))
    await leads.admin.execute("UPDATE teams SET supervisor_id = 'boss' WHERE id = 'sales'")
    await leads.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    [captured] = await leads.capture(draft())
    return captured


def encode(lead) -> bytes:
    return f"{lead.draft.stage} {lead.claimed_at is not None}".encode()


def kept_id(kept) -> bytes:
    return kept.id.encode()


async def claim(leads, actor: Actor, lead_id: str, key: Keyed = NO_KEY):
    return await claim_lead(leads.begin_work, key, actor, lead_id, now=leads.clock.now(), encode=encode)


async def move(leads, actor: Actor, lead_id: str, stage: str, reason: str = "", key: Keyed = NO_KEY):
    return await change_stage(
        leads.begin_work, key, actor, lead_id, stage, reason, now=leads.clock.now(), encode=encode
    )


def follow_up(leads, **fields) -> FollowUp:
    due = leads.clock.now() + timedelta(days=1)
    return FollowUp(
        **{
            "goal": "确认",
            "customer_words": "贵",
            "next_action": "报价",
            "next_action_due": due,
            "objection": "价格",
            "pain_tags": ("ERP替换",),
            **fields,
        }
    )


async def record(leads, actor: Actor, lead_id: str, key: Keyed = NO_KEY, **fields):
    return await add_follow_up(
        leads.begin_work, key, actor, lead_id, follow_up(leads, **fields), now=leads.clock.now(), encode=kept_id
    )


@pytest.mark.capability(5)
async def test_claiming_ends_the_first_timer_and_is_told_once(leads, owned) -> None:
    """The second, for the first work on it, runs on; a second claim changes nothing and is no error."""
    for _ in range(2):
        assert (await claim(leads, OWNER, owned.lead_id)).content == b"new True"
    [timer] = await leads.rows("SELECT stage, due_at, remind_at FROM first_touch_timers")
    now = leads.clock.now()
    assert tuple(timer) == (2, now + timedelta(hours=2), now + timedelta(minutes=90))
    assert [event for event, _ in await leads.events(owned.lead_id)].count("LeadClaimed") == 1
    await record(leads, OWNER, owned.lead_id)
    assert await leads.value("SELECT count(*) FROM first_touch_timers") == 0


@pytest.mark.capability(42)
@pytest.mark.parametrize(("actor", "error"), [(COLLEAGUE, NotFoundError), (BOSS, PermissionDeniedError)])
async def test_only_the_owner_claims(leads, owned, actor: Actor, error: type[Exception]) -> None:
    """A colleague does not know of the lead; the supervisor sees it and may not claim it for others."""
    with pytest.raises(error):
        await claim(leads, actor, owned.lead_id)


@pytest.mark.parametrize("role", [Role.ONCALL, Role.SRE])
async def test_on_call_has_no_business_data(leads, owned, role: Role) -> None:
    """Neither reading nor writing, whatever the scope."""
    actor = Actor("1", role, Scope.ALL)
    with pytest.raises(PermissionDeniedError):
        await get_lead(leads.begin_reading, actor, owned.lead_id)
    with pytest.raises(PermissionDeniedError):
        await list_people(leads.begin_people, actor, "", 0, now=leads.clock.now())
    with pytest.raises(PermissionDeniedError):
        await record(leads, actor, owned.lead_id)


@pytest.mark.capability(9, 10, 12)
async def test_a_follow_up_is_kept_claims_the_lead_and_tells_health(leads, owned) -> None:
    """Doing something with a lead accepts it."""
    answer = await record(leads, OWNER, owned.lead_id, pain_tags=("ERP替换",))
    row = (await leads.rows("SELECT * FROM follow_ups"))[0]
    assert (str(row["id"]), row["pain_tags"], row["author_id"]) == (answer.content.decode(), ["ERP替换"], "1")
    assert await leads.value("SELECT claimed_at IS NOT NULL FROM leads")
    assert await leads.events(str(row["id"])) == [("ActivityRecorded", 1)]


@pytest.mark.capability(9, 100)
async def test_a_refused_follow_up_leaves_no_trace(leads, owned) -> None:
    """Nothing is written, the lead stays unclaimed."""
    with pytest.raises(InvalidRequestError):
        await record(leads, OWNER, owned.lead_id, goal="")
    assert await leads.value("SELECT count(*) FROM follow_ups") == 0
    assert await leads.value("SELECT claimed_at IS NULL FROM leads")


async def test_losing_a_lead_frees_its_owner(leads, owned) -> None:
    """Timer, load and stage follow; the lead does not move again."""
    assert (await move(leads, BOSS, owned.lead_id, "lost", "选了竞品")).content == b"lost False"
    assert await leads.value("SELECT sum(open_leads) FROM workloads") == 0
    assert await leads.value("SELECT count(*) FROM first_touch_timers") == 0
    with pytest.raises(ConflictError):
        await move(leads, OWNER, owned.lead_id, "contacted")


async def test_events_of_a_lead_are_numbered_without_gaps(leads, owned) -> None:
    """Consumers judge order by the sequence: claim and stage of one request are two."""
    await move(leads, OWNER, owned.lead_id, "contacted")
    await move(leads, OWNER, owned.lead_id, "converted")
    assert await leads.events(owned.lead_id) == [
        ("LeadCaptured", 1),
        ("LeadAssigned", 2),
        ("LeadClaimed", 3),
        ("LeadStageChanged", 4),
        ("LeadStageChanged", 5),
    ]


async def test_a_replay_answers_the_first_result(leads, owned) -> None:
    """Also when the lead has moved on since; another body is refused."""
    key = Keyed("1", "ChangeStage", "key-1", b"body")
    first = await move(leads, OWNER, owned.lead_id, "contacted", key=key)
    await move(leads, OWNER, owned.lead_id, "qualified")
    again = await move(leads, OWNER, owned.lead_id, "contacted", key=key)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.content == first.content
    with pytest.raises(IdempotencyMismatchError):
        await move(leads, OWNER, owned.lead_id, "contacted", key=Keyed("1", "ChangeStage", "key-1", b"other"))


async def create(leads, *requests: CreateRequest):
    return await create_leads(
        leads.begin_capture, requests, now=leads.clock.now(), encode=lambda _, lead, __: lead.lead_id.encode()
    )


async def test_a_batch_tells_replays_from_new_leads(leads) -> None:
    """A replay, a reused key and a new lead in one transaction: each gets its own answer."""
    key = Keyed("1", "CreateLead", "k", b"body")
    [first] = await create(leads, CreateRequest(key, draft(1)))
    replay, reused, fresh = await create(
        leads,
        CreateRequest(key, draft(1)),
        CreateRequest(Keyed("1", "CreateLead", "k", b"other"), draft(2)),
        CreateRequest(Keyed("1", "CreateLead", "k2", b"body"), draft(3)),
    )
    assert (replay.content, replay.replayed) == (first.content, True)
    assert isinstance(reused, IdempotencyMismatchError | ConflictError)
    assert not fresh.replayed
    assert await leads.value("SELECT count(*) FROM leads") == 2


async def test_one_key_from_many_clients_at_once_creates_one_lead(leads) -> None:
    """Whoever is not first gets the first answer, or is told that it is under way."""
    key = Keyed("1", "CreateLead", "k", b"body")
    other = await leads.another()
    answers = await asyncio.gather(
        *(create((leads, other)[turn % 2], CreateRequest(key, draft())) for turn in range(12)), return_exceptions=True
    )
    assert await leads.value("SELECT count(*) FROM leads") == 1
    contents = {each[0].content for each in answers if isinstance(each, list) and not isinstance(each[0], Exception)}
    assert len(contents) == 1
    refusals = [each if isinstance(each, Exception) else each[0] for each in answers]
    assert all(isinstance(each, ConflictError) for each in refusals if isinstance(each, Exception))


@pytest.mark.capability(42)
@pytest.mark.parametrize(("actor", "sees"), [(OWNER, True), (COLLEAGUE, False), (BOSS, True), (EVERYBODY, True)])
async def test_anothers_lead_is_not_found(leads, owned, actor, sees) -> None:
    """Lead, its decisions and its customer: own, team and all see what they may, and the rest is not there."""
    reads = [
        get_lead(leads.begin_reading, actor, owned.lead_id),
        list_assignments(leads.begin_reading, actor, owned.lead_id),
        get_customer(leads.begin_reading, actor, owned.customer_id),
    ]
    for found in await asyncio.gather(*reads, return_exceptions=True):
        assert isinstance(found, NotFoundError) is not sees
    listed, _ = await list_leads(leads.begin_reading, actor, LeadFilter(), None, 0)
    assert [lead.id for lead in listed] == ([owned.lead_id] if sees else [])


@pytest.mark.parametrize("lead_id", ["", "x", "1 OR 1=1", "00000000-0000-0000-0000-000000000000"])
async def test_what_is_no_lead_is_not_found(leads, lead_id: str) -> None:
    """Any text for an id is an answer, not an error of the database."""
    with pytest.raises(NotFoundError):
        await get_lead(leads.begin_reading, EVERYBODY, lead_id)
    with pytest.raises(NotFoundError):
        await get_customer(leads.begin_reading, EVERYBODY, lead_id)


async def test_pages_are_newest_first_and_complete(leads) -> None:
    """Each lead is on exactly one page; filters narrow."""
    await leads.people(Person("1", "甲"))
    created = [(await leads.capture(draft(number)))[0].lead_id for number in range(7)]
    seen, before = [], None
    while True:
        page, before = await list_leads(leads.begin_reading, OWNER, LeadFilter(stage="new"), before, 3)
        seen += [lead.id for lead in page]
        if before is None:
            break
    assert seen == created[::-1]
    none, _ = await list_leads(leads.begin_reading, OWNER, LeadFilter(source="展会"), None, 0)
    assert none == []


async def test_people_are_listed_with_their_load(leads, owned) -> None:
    """Page by page, in the order of their ids, as far as the scope reaches."""
    people, rest = await list_people(leads.begin_people, EVERYBODY, "", 2, now=leads.clock.now())
    assert [(each.person.id, each.open_leads) for each in people] == [("1", 1), ("2", 0)]
    further, end = await list_people(leads.begin_people, EVERYBODY, rest, 2, now=leads.clock.now())
    assert [each.person.id for each in further] == ["boss", "duty-desk"]
    assert end == "duty-desk"
    own, _ = await list_people(leads.begin_people, COLLEAGUE, "", 0, now=leads.clock.now())
    assert [each.person.id for each in own] == ["2"]
