"""The playbook as data: read whole, or refused with the place of each mistake (10, 60)."""

from copy import deepcopy
from datetime import UTC, datetime

import pytest

from breakwater.chassis.errors import InvalidRequestError
from services.leads.followups.playbook import read_playbook
from services.leads.intake.domain import Stage

DUE = datetime(2026, 3, 3, 2, 0, tzinfo=UTC)
ACTION = {
    "code": "quote-sent",
    "name": "报价已发",
    "goal": "发送报价",
    "customer_words": "等待报价",
    "script": "报价单已发送。",
    "objection": "价格",
    "stage": "qualified",
    "next_action": "确认报价反馈",
    "due_after_h": 18.0,
}
DOCUMENT = {
    "mandatory_columns": ["goal", "customer_words", "next_action"],
    "objections": ["无", "价格"],
    "pain_tags_max": 3,
    "vague_words": ["尽快"],
    "actions": [ACTION],
}


def changed(**changes):
    return deepcopy(DOCUMENT) | changes


@pytest.mark.capability(60)
def test_an_action_fills_a_record_and_takes_one_keyword() -> None:
    """Words, script, objection, stage and time come from the code; the keyword is beside the words, and the pain tag."""
    action = read_playbook(DOCUMENT, 1).actions["quote-sent"]
    record = action.fill("ERP替换", DUE)
    assert (record.customer_words, record.pain_tags) == ("等待报价：ERP替换", ("ERP替换",))
    assert (record.our_response, record.next_action_due, action.stage) == ("报价单已发送。", DUE, Stage.QUALIFIED)
    assert action.fill("", DUE).pain_tags == ("无",)


@pytest.mark.capability(9, 60)
def test_an_action_fills_every_column_that_is_mandatory() -> None:
    """A new playbook whose codes could only make refused records is refused itself; one that is in force is read."""
    columns = ["goal", "customer_words", "next_action", "blocker"]
    document = changed(mandatory_columns=columns)
    assert read_playbook(document, 1).actions
    with pytest.raises(InvalidRequestError) as caught:
        read_playbook(document, 1, strict=True)
    assert [error.field for error in caught.value.errors] == ["actions[0].blocker"]
    filled = changed(mandatory_columns=columns, actions=[ACTION | {"blocker": "等待审批"}])
    assert read_playbook(filled, 1, strict=True).actions[ACTION["code"]].fill("", DUE).blocker == "等待审批"


@pytest.mark.capability(10, 60)
@pytest.mark.parametrize(
    ("document", "places"),
    [
        (changed(mandatory_columns=["goal", "next_action"]), ["mandatory_columns"]),
        (changed(mandatory_columns=["goal", "备注", "blocker"]), ["mandatory_columns[1]"]),
        (changed(objections=["无", "价格", "价格"]), ["objections[2]"]),
        (changed(objections=["无"]), ["actions[0].objection"]),
        (changed(pain_tags_max=True, vague_words="尽快"), ["pain_tags_max", "vague_words"]),
        (changed(pain_tags_max=float("inf")), ["pain_tags_max"]),
        (changed(pain_tags_max=float("nan")), ["pain_tags_max"]),
        (changed(actions=[ACTION, ACTION]), ["actions[1].code"]),
        (changed(actions=[ACTION | {"code": "Quote Sent", "stage": "lost"}]), ["actions[0].code", "actions[0].stage"]),
        (
            changed(actions=[ACTION | {"due_after_h": 1.5, "scirpt": ""}]),
            ["actions[0].scirpt", "actions[0].due_after_h"],
        ),
        (changed(actions=["quote-sent"]), ["actions[0]"]),
        ({"actions": []}, ["mandatory_columns", "objections", "pain_tags_max"]),
        (changed(notes=[]), ["notes"]),
    ],
)
def test_every_mistake_is_told_with_its_place(document, places) -> None:
    """All of them at once, and nothing is taken."""
    with pytest.raises(InvalidRequestError) as caught:
        read_playbook(document, 1)
    assert [error.field for error in caught.value.errors] == places
