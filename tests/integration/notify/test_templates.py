"""The words of messages: changed by people, kept by version, never code."""

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import InvalidRequestError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1.events_pb2 import LeadAssigned
from services.notify.templates.domain import Template
from services.notify.templates.store import TemplateStore
from services.notify.templates.usecases import Wording
from tests.support.notifying import ROOT_ACTOR, START, default_words, received


@pytest.fixture
def wording(database):
    """The use cases on a fresh database."""
    return Wording(TemplateStore(database, default_words()), VirtualClock(START))


async def test_a_changed_template_is_in_force_at_once_and_every_version_stays(notifying):
    """The next event reads the new words; who changed them and when is kept."""
    notify = await notifying(providers=())
    wording = Wording(TemplateStore(notify.databases[0], default_words()), notify.clock)
    for body in ("第一版 $source", "第二版 $source"):
        await wording.change(ROOT_ACTOR, Template("lead_assigned", "zh", "新客户 $who", body))
    event = LeadAssigned(lead_id="l1", assignment_id="a1", owner_id="anna", lead_name="王芳", source="展会")
    async with notify.databases[0].transaction() as tx:
        await notify.events.leads_assigned(tx, [received(event)])
    [notification] = await notify.seen("anna")
    assert (notification.title, notification.body) == ("新客户 王芳", "第二版 展会")
    *versions, first = await wording.versions("lead_assigned", "zh")
    assert [(each.version, each.body, each.changed_by) for each in versions] == [
        (2, "第二版 $source", "root"),
        (1, "第一版 $source", "root"),
    ]
    # The words it came with can be read, and so put back.
    assert (first.version, first.title) == (0, "新线索：$who")


async def test_a_preview_shows_the_words_with_a_samples_values(wording):
    """What is left out is as it is in force; nothing is stored."""
    title, body = await wording.preview("lead_overdue", "zh", "超时 $who", "")
    assert title == "超时 海天机械 王芳"
    assert "03-02 09:15" in body
    assert [each.version for each in await wording.versions("lead_overdue", "zh")] == [0]


@pytest.mark.parametrize(
    ("title", "body", "field"),
    [
        ("$nobody", "x", "title"),
        ("x", "${who.__class__}", "body"),
        ("x", "100 $ und mehr", "body"),
        ("", "x", "title"),
        ("x", "x" * 4_001, "body"),
    ],
)
async def test_a_template_that_cannot_be_used_names_its_field(wording, title, body, field):
    """Names that are not offered, code, a lone dollar, nothing at all, too much."""
    with pytest.raises(InvalidRequestError) as refused:
        await wording.change(ROOT_ACTOR, Template("lead_assigned", "zh", title, body))
    assert [each.field for each in refused.value.errors] == [field]


async def test_salespeople_change_no_words(wording):
    """Managers and administrators do."""
    with pytest.raises(PermissionDeniedError):
        await wording.change(Actor("anna", Role.SALES, Scope.OWN), Template("digest", "zh", "x", "y"))


def test_every_template_speaks_both_languages_and_keeps_its_own_rules():
    """Chinese and English of each, naming only what is offered; a value that looks like a name stays as it is."""
    words = default_words()
    for (name, language), template in words.templates.items():
        assert not words.faults(name, language, template.title, template.body), f"{name} {language}"
        assert {("zh", "en")} == {tuple(each for each in ("zh", "en") if (name, each) in words.templates)}
    title, _ = words.render("lead_assigned", "zh", {"who": "$reason ${source}"})
    assert title == "新线索：$reason ${source}"
