"""Whose channels somebody may see and change, and what cannot be bound."""

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from services.notify.channels.domain import Preferences
from services.notify.channels.store import ChannelStore
from services.notify.channels.usecases import Channels
from services.notify.delivery.store import Posting, TransactionInboxes
from services.notify.delivery.usecases import Recipient
from tests.support.notifying import ROOT_ACTOR, START, default_words

ANNA = Actor("anna", Role.SALES, Scope.OWN)


@pytest.fixture
async def channels(database):
    """The use cases, of three people: anna and mate in one team, both supervised by boss, who is in none."""
    async with database.transaction() as tx:
        for person, team, supervisor in (("anna", "t1", "boss"), ("mate", "t1", "boss"), ("boss", "", "")):
            await TransactionInboxes(tx, Posting(default_words())).learn(
                Recipient(person, person, team, supervisor, active=True), 1
            )
    return Channels(ChannelStore(database), {"wecom:default", "email"}, VirtualClock(START))


@pytest.mark.capability(119)
@pytest.mark.parametrize(
    "actor",
    [
        ANNA,
        Actor("mate", Role.MANAGER, Scope.TEAM),
        Actor("boss", Role.MANAGER, Scope.TEAM),
        ROOT_ACTOR,
    ],
    ids=["oneself", "a manager of the team", "the supervisor", "an administrator"],
)
async def test_a_channel_is_bound_by_oneself_and_by_whoever_is_above(channels, actor):
    """Bound, seen, and removed again."""
    profile = await channels.bind(actor, "anna", "wecom", "ZhangSan", "")
    assert [each.way for each in profile.chain(critical=False)] == ["wecom:default"]
    assert not (await channels.unbind(actor, "anna", "wecom")).bindings


@pytest.mark.parametrize(
    "actor",
    [
        Actor("mate", Role.SALES, Scope.TEAM),
        Actor("mate", Role.SALES, Scope.OWN),
        Actor("stranger", Role.MANAGER, Scope.TEAM),
        Actor("boss", Role.MANAGER, Scope.OWN),
    ],
    ids=["a colleague who sees the team", "a colleague", "a manager of others", "a manager who sees only their own"],
)
async def test_nobody_else_turns_a_persons_messages_to_another_address(channels, actor):
    """For them the person does not exist: nothing is shown, bound, removed or wished."""
    for verb in (
        channels.show(actor, "anna"),
        channels.bind(actor, "anna", "email", "me@example.com", ""),
        channels.unbind(actor, "anna", "email"),
        channels.prefer(actor, "anna", Preferences(muted=frozenset({"wecom"}))),
    ):
        with pytest.raises(NotFoundError):
            await verb
    with pytest.raises(PermissionDeniedError):
        await channels.findings(actor, "", 10)
    assert not (await channels.show(ANNA, "anna")).bindings


@pytest.mark.parametrize(
    ("channel", "address", "robot", "field"),
    [
        ("fax", "1", "", "channel"),
        ("wecom", "two words", "", "address"),
        ("wecom", "anna", "elsewhere", "robot"),
        ("dingtalk", "anna", "", "robot"),
    ],
)
async def test_what_cannot_be_bound_names_its_field(channels, channel, address, robot, field):
    """No such channel, no address of it, a robot or a provider that is not set up here."""
    with pytest.raises(InvalidRequestError) as refused:
        await channels.bind(ANNA, "anna", channel, address, robot)
    assert [each.field for each in refused.value.errors] == [field]
