"""Who gets which notification, under which key, in which words."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.notify.delivery import domain, notices
from services.notify.delivery.notices import Lead
from tests.support.notifying import default_words

SHANGHAI = ZoneInfo("Asia/Shanghai")
DUE = datetime(2026, 3, 2, 1, 15, tzinfo=UTC)


def worded(notice, language="zh"):
    """The title and body somebody reads."""
    return default_words().render(notice.template, language, notice.values)


def assigned(name="王芳", **changes):
    """A notice of a new lead."""
    given = {
        "assignment_id": "a1",
        "owner_id": "1001",
        "import_id": "",
        "source": "展会扫码",
        "priority": "P1",
        "reason": "轮转",
        "claim_by": DUE,
        "zone": SHANGHAI,
    }
    return notices.lead_assigned(Lead("l1", name, "海天机械"), **(given | changes))


@pytest.mark.capability(125)
def test_the_owner_reads_who_the_lead_is_and_by_when_to_claim_it():
    """Name, company, source and the due time in the team's zone stand in the message."""
    message = assigned()
    assert message.recipient_id == "1001"
    title, body = worded(message)
    assert "海天机械 王芳" in title
    assert "展会扫码" in body
    assert "03-02 09:15" in body


def test_a_p0_lead_is_louder():
    """P0 is marked in the title and warns."""
    message = assigned(priority="P0")
    assert worded(message)[0].startswith("【P0】")
    assert message.severity is domain.Severity.WARNING


def test_the_same_assignment_is_the_same_notification():
    """The key depends on the assignment alone, so a redelivery cannot notify twice."""
    assert assigned().dedup_key == assigned(reason="other words").dedup_key
    assert assigned().dedup_key != assigned(assignment_id="a2").dedup_key


@pytest.mark.capability(5)
def test_the_second_stage_reaches_owner_and_supervisor():
    """Stage 1 reminds the owner; stage 2 tells the supervisor as critical too (双阶超时)."""
    common = {"owner_id": "1001", "supervisor_id": "1009", "due_at": DUE, "zone": SHANGHAI}
    first, second = (
        notices.lead_overdue(Lead("l1"), stage=1, **common),
        notices.lead_overdue(Lead("l1"), stage=2, **common),
    )
    assert [message.recipient_id for message in first] == ["1001"]
    assert [(message.recipient_id, message.severity) for message in second] == [
        ("1001", domain.Severity.WARNING),
        ("1009", domain.Severity.CRITICAL),
    ]
    assert len({message.dedup_key for message in first + second}) == 3


@pytest.mark.capability(5)
@pytest.mark.parametrize("supervisor_id", ["1001", ""])
def test_an_owner_with_nobody_above_keeps_the_lead_and_is_told_once(supervisor_id):
    """No word of a supervisor who has it now: it is theirs, as loud as to a supervisor."""
    common = {"owner_id": "1001", "supervisor_id": supervisor_id, "due_at": DUE, "zone": SHANGHAI}
    [message] = notices.lead_overdue(Lead("l1", "王芳"), stage=2, **common)
    assert (message.recipient_id, message.severity) == ("1001", domain.Severity.CRITICAL)
    assert "现由您处理" in worded(message)[1]


@pytest.mark.capability(5, 117)
@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize(
    ("lead", "who"), [(Lead("l1", "王芳", "海天机械"), "海天机械 王芳"), (Lead("0198-abc12345"), "#abc12345")]
)
def test_every_message_of_a_lead_names_it(lead, who, language):
    """By company and name where the event says them, else by its id; no sentence has a hole."""
    common = {"zone": SHANGHAI, "supervisor_id": "1009"}
    told = [
        *notices.lead_overdue(lead, owner_id="1001", stage=1, due_at=DUE, **common),
        *notices.lead_overdue(lead, owner_id="1001", stage=2, due_at=DUE, **common),
        *notices.lead_silent(lead, owner_id="", owner_name="", assigned_at=DUE, times=1, **common),
        *notices.lead_silent(lead, owner_id="1001", owner_name="李明", assigned_at=DUE, times=1, **common),
        notices.lead_due_soon(lead, owner_id="1001", stage=1, due_at=DUE, zone=SHANGHAI),
    ]
    for message in told:
        title, body = worded(message, language)
        assert title.endswith(who)
        assert "  " not in body
        assert "$" not in title + body
    assert "李明" in worded(told[-2], language)[1]


@pytest.mark.capability(37)
def test_a_degraded_export_says_what_is_missing_and_that_more_follows():
    """The first receipt names the dependency and the columns left out."""
    message = notices.export_degraded(export_id="e1", requester_id="u", dependency="files", missing=("need", "utm"))
    _, body = worded(message)
    assert "files" in body
    assert "need、utm" in body
    assert "自动补发" in body


def test_overlong_words_are_cut_visibly():
    """A name of any length stays within the limit and shows that it was cut."""
    title, _ = worded(assigned(name="长" * 500))
    assert len(title) == domain.TITLE_CHARS_MAX
    assert title.endswith("…")
