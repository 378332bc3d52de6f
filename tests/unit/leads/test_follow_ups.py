"""What a follow-up must say (9, 10, 12, 44) and how a lead may move."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.chassis.errors import ConflictError, InvalidRequestError
from services.leads.followups.domain import (
    FollowUp,
    LastFollowUp,
    LeadFacts,
    LiveState,
    Standards,
    check_follow_up,
    check_move,
    live_status,
)
from services.leads.followups.reading import Place
from services.leads.intake.domain import Stage
from services.leads.story.domain import Place as StoryPlace

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
GOOD = FollowUp(
    "确认型号", "价格比上一家高", "发送对比报价", NOW + timedelta(days=1), "价格", pain_tags=(" ERP替换 ", "ERP替换")
)
LEAD = LeadFacts(Stage.CONTACTED, "展会", NOW - timedelta(days=2))
STANDARDS = Standards()


def kept(record: FollowUp, standards: Standards = STANDARDS, lead: LeadFacts = LEAD) -> FollowUp:
    return check_follow_up(record, standards, lead, NOW)


def refused(record: FollowUp, standards: Standards = STANDARDS, lead: LeadFacts = LEAD) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        check_follow_up(record, standards, lead, NOW)
    return [error.field for error in caught.value.errors]


@pytest.mark.capability(9, 10, 44, 99, 100)
def test_blank_mandatory_columns_are_all_named() -> None:
    """Three columns, objection, next time, pain tags, and a source the lead lacks: each is named, all at once."""
    assert refused(FollowUp("", " ", "", None, ""), lead=replace(LEAD, source="")) == [
        "goal",
        "customer_words",
        "next_action",
        "objection",
        "next_action_due",
        "pain_tags",
        "source",
    ]


@pytest.mark.capability(99)
def test_a_record_is_complete_with_its_process_fields() -> None:
    """Source and first touch are the lead's, the stage is the one the lead has or is moved to."""
    record = kept(GOOD)
    assert (record.source, record.first_touch_at, record.stage) == ("展会", LEAD.first_touch_at, "contacted")
    assert kept(replace(GOOD, stage="qualified")).stage == "qualified"


@pytest.mark.capability(99)
@pytest.mark.parametrize("stage", ["谈判", "lost"])
def test_a_stage_is_one_of_six_and_an_end_needs_its_reason(stage: str) -> None:
    """A word of one's own is no stage, and a follow-up has no room for why a lead was lost."""
    assert refused(replace(GOOD, stage=stage)) == ["stage"]
    assert len(Stage) == 6


@pytest.mark.capability(9, 10)
def test_an_organisation_has_standards_of_its_own() -> None:
    """Its mandatory columns, its objections, its number of pain tags."""
    own = Standards(frozenset({"goal", "our_response", "blocker"}), ("账期",), pain_tags_max=1)
    record = replace(GOOD, objection="账期", pain_tags=("a", "b"), customer_words="")
    assert refused(record, own) == ["our_response", "blocker", "pain_tags"]
    assert kept(replace(record, our_response="x", blocker="y", pain_tags=("a",)), own).customer_words == ""


def test_the_other_columns_may_be_blank() -> None:
    """我方回应 and 阻塞原因 are there for those who have something to say."""
    assert kept(GOOD).blocker == ""


@pytest.mark.capability(10)
def test_an_objection_is_one_of_the_choices() -> None:
    """Free text is no choice."""
    assert refused(replace(GOOD, objection="太贵了吧")) == ["objection"]


@pytest.mark.capability(44)
def test_a_next_action_lies_ahead() -> None:
    """What was due before it was written is no plan."""
    assert refused(replace(GOOD, next_action_due=NOW)) == ["next_action_due"]


@pytest.mark.capability(12, 99)
def test_pain_tags_are_three_at_most_and_each_once() -> None:
    """The same tag twice is one tag; a fourth is refused."""
    assert kept(GOOD).pain_tags == ("ERP替换",)
    assert refused(replace(GOOD, pain_tags=("1", "2", "3", "4"))) == ["pain_tags"]
    assert refused(replace(GOOD, pain_tags=("x" * 31,))) == ["pain_tags"]
    assert refused(replace(GOOD, pain_tags=(" ",))) == ["pain_tags"]


@pytest.mark.capability(99)
def test_that_nothing_hurts_is_an_answer_that_stands_alone() -> None:
    """无 is no blank, and contradicts every other tag."""
    assert kept(replace(GOOD, pain_tags=("无",))).pain_tags == ("无",)
    assert refused(replace(GOOD, pain_tags=("无", "ERP替换"))) == ["pain_tags"]


def test_columns_have_a_limit() -> None:
    """The largest is taken, one more is refused."""
    assert kept(replace(GOOD, goal="x" * 2_000))
    assert refused(replace(GOOD, goal="x" * 2_001)) == ["goal"]


@pytest.mark.parametrize("wanted", ["contacted", "qualified", "converted", "new"])
def test_an_open_lead_moves(wanted: str) -> None:
    """Forward, or nowhere."""
    assert check_move(Stage.NEW, wanted, "") == wanted


@pytest.mark.parametrize("wanted", ["lost", "closed"])
def test_giving_up_needs_a_reason(wanted: str) -> None:
    """Without it nobody learns why leads are lost (6)."""
    with pytest.raises(InvalidRequestError) as caught:
        check_move(Stage.CONTACTED, wanted, " ")
    assert [error.field for error in caught.value.errors] == ["reason"]
    assert check_move(Stage.CONTACTED, wanted, "选了竞品") == wanted


@pytest.mark.parametrize("present", [Stage.CONVERTED, Stage.LOST, Stage.CLOSED])
def test_an_end_is_an_end(present: Stage) -> None:
    """A lead that ended does not move."""
    with pytest.raises(ConflictError):
        check_move(present, "contacted", "")


def test_a_lead_does_not_become_new_again() -> None:
    """Its first touch is history."""
    with pytest.raises(ConflictError):
        check_move(Stage.CONTACTED, "new", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-05T02:00:00 x",
        "2026-01-05T02:00:00 {id}",
        "0001-01-01T00:00:00+14:00 {id}",
        "9999-12-31T23:59:59-14:00 {id}",
    ],
)
def test_a_place_we_did_not_give_is_refused(text: str) -> None:
    """Also a moment that has none in UTC: whoever writes a cursor of their own gets no further than its name."""
    with pytest.raises(InvalidRequestError) as caught:
        Place.of(text.format(id="01990000-0000-7000-8000-000000000000"))
    assert [error.field for error in caught.value.errors] == ["cursor"]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-05T02:00:00"])
@pytest.mark.parametrize("place", ["oldest {at} {id} {now} {id}", "newest {now} {id} {at} {id}"])
def test_a_place_of_a_story_we_did_not_give_is_refused(at: str, place: str) -> None:
    """Whichever of its moments is none."""
    given = place.format(at=at, now="2026-01-05T02:00:00+00:00", id="01990000-0000-7000-8000-000000000000")
    with pytest.raises(InvalidRequestError) as caught:
        StoryPlace.of(given)
    assert [error.field for error in caught.value.errors] == ["cursor"]


def test_a_word_that_is_no_stage_is_refused() -> None:
    """The refusal names the field."""
    with pytest.raises(InvalidRequestError) as caught:
        check_move(Stage.NEW, "won", "")
    assert [error.field for error in caught.value.errors] == ["stage"]


HOUR = timedelta(hours=1)


@pytest.mark.capability(104)
@pytest.mark.parametrize(
    ("stage", "owner", "claim_by", "claimed_at", "planned", "state", "due_at"),
    [
        ("new", None, None, None, None, LiveState.UNASSIGNED, None),
        ("new", "1", NOW + HOUR, None, None, LiveState.UNCLAIMED, NOW + HOUR),
        ("new", "1", NOW, None, None, LiveState.OVERDUE, NOW),
        ("contacted", "1", NOW - HOUR, NOW - HOUR, None, LiveState.WORKING, None),
        ("contacted", "1", NOW - HOUR, NOW - HOUR, NOW + HOUR, LiveState.WORKING, NOW + HOUR),
        ("contacted", "1", NOW - HOUR, NOW - HOUR, NOW, LiveState.OVERDUE, NOW),
        ("contacted", "2", NOW + HOUR, None, NOW - HOUR, LiveState.UNCLAIMED, NOW + HOUR),
        ("contacted", "boss", None, None, NOW - HOUR, LiveState.OVERDUE, NOW - HOUR),
        ("lost", "1", NOW - HOUR, None, NOW - HOUR, LiveState.ENDED, None),
    ],
)
def test_how_a_lead_stands_follows_from_what_was_done(
    stage, owner, claim_by, claimed_at, planned, state, due_at
) -> None:
    """Claim and next action say it; a new owner has a claim to make, an ended lead owes nothing."""
    last = LastFollowUp(NOW - 2 * HOUR, "1", "报价", planned) if planned else None
    status = live_status(Stage(stage), owner, claim_by, claimed_at, last, NOW)
    assert (status.state, status.due_at) == (state, due_at)
    assert status.overdue is (state is LiveState.OVERDUE)
