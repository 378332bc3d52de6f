"""Texts of a lead: kept with their tags, read back with the places, moving the stage; the dictionary as data."""

from datetime import timedelta

import pytest

from breakwater.chassis.errors import ConflictError, NotFoundError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.documents.usecases import get_document, put_document
from services.leads.followups.domain import FollowUp
from services.leads.followups.usecases import add_follow_up
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.intake.usecases import get_customer
from services.leads.organisation.domain import Person
from services.leads.tagging.domain import read_dictionary
from services.leads.tagging.usecases import NewText, add_transcript, get_transcript, preview_tags

OWNER = Actor("1", Role.SALES, Scope.OWN)
COLLEAGUE = Actor("2", Role.SALES, Scope.TEAM)
STRANGER = Actor("3", Role.SALES, Scope.OWN)
BOSS = Actor("boss", Role.MANAGER, Scope.ALL)
NO_KEY = Keyed("1", "Text", "", b"")
KEY = Keyed("1", "Text", "k", b"body")
TEXT = "😀 客户说预算不够，要等老板批；ＥＲＰ替换先看报价"


@pytest.fixture
async def lead_id(leads):
    """A lead that person 1 has."""
    await leads.people(Person("1", "甲"), Person("2", "乙", weight=0), Person("3", "丙", team_id="华南", weight=0))
    [captured] = await leads.capture(LeadDraft("王芳", "展会", phone="+8613900000001"))
    return captured.lead_id


async def add(leads, lead_id, kind="call", text=TEXT, actor=OWNER, key=NO_KEY):
    return await add_transcript(
        leads.begin_transcripts,
        key,
        actor,
        lead_id,
        NewText(kind, text, None),
        now=leads.clock.now(),
        encode=lambda kept, stage: f"{kept.id} {stage}".encode(),
    )


@pytest.mark.capability(11)
async def test_a_text_is_kept_with_the_places_of_its_words(leads, lead_id) -> None:
    """Read back as it was given; the activity is told; a replay keeps nothing twice; the owner's text claims the lead."""
    first = await add(leads, lead_id, key=KEY)
    assert (await add(leads, lead_id, key=KEY)).replayed
    transcript_id, stage = first.content.decode().split()
    assert stage == "new", "a call says nothing of the stage"
    kept = await get_transcript(leads.begin_tags, OWNER, lead_id, transcript_id)
    assert kept.text == TEXT
    assert [(each.tag, TEXT[each.start : each.end]) for each in kept.highlights] == [
        ("budget-short", "预算不够"),
        ("boss-decides", "要等老板"),
        ("erp-replacement", "ＥＲＰ替换"),
        ("quote", "报价"),
    ]
    assert kept.pain_tags == ("预算不足", "ERP替换")
    assert await leads.events(transcript_id) == [("ActivityRecorded", 1)]
    assert await leads.value("SELECT count(*) FROM activities WHERE customer_id IS NOT NULL") == 1
    assert await leads.value("SELECT claimed_at IS NOT NULL FROM leads")


@pytest.mark.capability(12)
async def test_pains_go_to_the_customer_s_profile(leads, lead_id) -> None:
    """Those of texts and those of follow-ups, the most frequent first; 无 is none."""
    await add(leads, lead_id)
    for tags in (("ERP替换", "交付慢"), ("无",)):
        record = FollowUp("甲", "乙", "丙", leads.clock.now() + timedelta(days=1), "无", pain_tags=tags)
        await add_follow_up(
            leads.begin_work,
            NO_KEY,
            OWNER,
            lead_id,
            record,
            now=leads.clock.now(),
            encode=lambda kept: kept.id.encode(),
        )
    customer_id = str(await leads.value("SELECT customer_id FROM leads"))
    customer = await get_customer(leads.begin_reading, OWNER, customer_id)
    assert [(each.tag, each.records) for each in customer.pain_tags] == [("ERP替换", 2), ("交付慢", 1), ("预算不足", 1)]


@pytest.mark.capability(71)
async def test_words_of_a_group_chat_move_the_stage_on(leads, lead_id) -> None:
    """交期 makes it contacted, 报价 qualified, and 交期 once more nothing; the history says by which words."""
    stages = [
        (await add(leads, lead_id, "chat", text)).content.decode().split()[1]
        for text in ("交期多久？", "发个报价", "交期呢？")
    ]
    assert stages == ["contacted", "qualified", "qualified"]
    steps = await leads.rows("SELECT to_stage, reason FROM lead_steps WHERE kind = 'stage_changed' ORDER BY id")
    assert [tuple(step) for step in steps] == [("contacted", "群聊关键词：交期"), ("qualified", "群聊关键词：报价")]
    assert [event for event, _ in await leads.events(lead_id)].count("LeadStageChanged") == 2


@pytest.mark.capability(42, 116)
async def test_a_text_is_its_owner_s_to_add_and_to_read(leads, lead_id) -> None:
    """A colleague is told whose customer it is, a stranger finds nothing, and another lead's text is not this one's."""
    transcript_id = (await add(leads, lead_id)).content.decode().split()[0]
    with pytest.raises(ConflictError):
        await add(leads, lead_id, actor=COLLEAGUE)
    with pytest.raises(NotFoundError):
        await get_transcript(leads.begin_tags, STRANGER, lead_id, transcript_id)
    [other] = await leads.capture(LeadDraft("李雷", "展会", phone="+8613900000002"))
    for wrong in ((other.lead_id, transcript_id), (lead_id, other.lead_id), (lead_id, "x")):
        with pytest.raises(NotFoundError):
            await get_transcript(leads.begin_tags, BOSS, *wrong)


@pytest.mark.capability(11)
async def test_a_new_dictionary_is_in_force_at_once_and_kept_texts_stay(leads, lead_id) -> None:
    """The next preview uses it; what was tagged names the version it was tagged by."""
    transcript_id = (await add(leads, lead_id)).content.decode().split()[0]
    assert (await preview_tags(leads.begin_tags, OWNER, "要上云")).tags == ()
    kept = await get_document(leads.begin_dictionary, OWNER)
    cloud = {"tags": [*kept.document["tags"], {"id": "cloud", "title": "上云", "words": ["上云"]}]}
    await put_document(leads.begin_dictionary, BOSS, cloud, 1, read_dictionary, now=leads.clock.now())
    tagged = await preview_tags(leads.begin_tags, OWNER, "要上云")
    assert ([tag.id for tag in tagged.tags], tagged.dictionary_version) == (["cloud"], 2)
    assert (await get_transcript(leads.begin_tags, OWNER, lead_id, transcript_id)).dictionary_version == 1
