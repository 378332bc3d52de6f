"""What a follow-up must say (9, 10, 12, 44) and how a lead may move."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.chassis.errors import ConflictError, InvalidRequestError
from services.leads.followups.domain import FollowUp, check_follow_up, check_move
from services.leads.intake.domain import Stage

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
GOOD = FollowUp(
    "确认型号", "价格比上一家高", "发送对比报价", NOW + timedelta(days=1), "价格", pain_tags=(" ERP替换 ", "ERP替换")
)


def refused(record: FollowUp) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        check_follow_up(record, NOW)
    return [error.field for error in caught.value.errors]


@pytest.mark.capability(9, 10, 44, 99, 100)
def test_blank_mandatory_columns_are_all_named() -> None:
    """本次目标, 客户原话, 下一步动作 with its time, and the objection: any blank refuses the record and is named."""
    assert refused(FollowUp("", " ", "", None, "")) == [
        "goal",
        "customer_words",
        "next_action",
        "objection",
        "next_action_due",
    ]


def test_the_other_columns_may_be_blank() -> None:
    """我方回应 and 阻塞原因 are there for those who have something to say."""
    assert check_follow_up(GOOD, NOW).blocker == ""


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
    assert check_follow_up(GOOD, NOW).pain_tags == ("ERP替换",)
    assert refused(replace(GOOD, pain_tags=("1", "2", "3", "4"))) == ["pain_tags"]
    assert refused(replace(GOOD, pain_tags=("x" * 31,))) == ["pain_tags"]


def test_columns_have_a_limit() -> None:
    """The largest is taken, one more is refused."""
    assert check_follow_up(replace(GOOD, goal="x" * 2_000), NOW)
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


def test_a_word_that_is_no_stage_is_refused() -> None:
    """The refusal names the field."""
    with pytest.raises(InvalidRequestError) as caught:
        check_move(Stage.NEW, "won", "")
    assert [error.field for error in caught.value.errors] == ["stage"]
