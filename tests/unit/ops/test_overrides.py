"""Overrides: a reason, an end, two ways to arrive, and on the record."""

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import InvalidRequestError, NotFoundError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.ops.overrides.usecases import Delivery, Overrides

ANNA = Actor("anna", Role.ONCALL, Scope.ALL)


class Carrier:
    """Remembers what it was given; reaches whom it is told to reach."""

    def __init__(self, delivery):
        self.delivery = delivery
        self.given = []

    async def deliver(self, what):
        self.given.append(what)
        return self.delivery


class Graph:
    """Two callers of files."""

    def callers_of(self, dependency):
        return frozenset({"gateway", "leads"}) if dependency == "files" else frozenset()


class Record:
    """The audit."""

    def __init__(self):
        self.lines = []

    def override_set(self, what):
        self.lines.append(("set", what))

    def override_lifted(self, what):
        self.lines.append(("lifted", what))


@pytest.fixture
def carrier():
    """Reaches the gateway and the bucket."""
    return Carrier(Delivery({"gateway": 1}, (), in_bucket=True))


@pytest.fixture
def record():
    """An empty audit."""
    return Record()


@pytest.fixture
def overrides(carrier, record):
    """The verbs."""
    return Overrides(carrier, Graph(), record, VirtualClock())


def lay(overrides, **changes):
    """Lays an override that is right unless changed."""
    given = {"dependency": "files", "caller": None, "mode": "fallback", "reason": "files hangs", "ttl_s": 900}
    return overrides.lay(ANNA, **(given | changes))


async def test_an_override_names_its_actor_and_ends(overrides, carrier, record):
    """What is delivered carries actor, reason and end, and is on the record."""
    what, _ = await lay(overrides)
    assert carrier.given == [what]
    assert (what.actor, what.reason) == ("anna", "files hangs")
    assert (what.expires_at - what.set_at).total_seconds() == 900
    assert record.lines == [("set", what)]


@pytest.mark.parametrize(
    ("change", "field"),
    [({"mode": "off"}, "mode"), ({"reason": " "}, "reason"), ({"ttl_s": 0}, "ttl_s"), ({"ttl_s": 1e9}, "ttl_s")],
)
async def test_an_override_without_reason_or_end_is_refused(overrides, carrier, change, field):
    """The field is named and nothing is delivered."""
    with pytest.raises(InvalidRequestError) as refused:
        await lay(overrides, **change)
    assert [error.field for error in refused.value.errors] == [field]
    assert carrier.given == []


async def test_an_edge_nobody_has_cannot_be_overridden(overrides):
    """An unknown dependency or caller is not found."""
    with pytest.raises(NotFoundError):
        await lay(overrides, dependency="fils")
    with pytest.raises(NotFoundError):
        await lay(overrides, caller="nobody")


async def test_an_override_that_reached_nobody_is_an_error_and_not_on_the_record(overrides, carrier, record):
    """Neither gRPC nor NATS: the operator must know."""
    carrier.delivery = Delivery({}, ("gateway", "leads"), in_bucket=False)
    with pytest.raises(UnavailableError):
        await lay(overrides)
    assert record.lines == []


async def test_lifting_without_a_caller_lifts_wide_and_narrow(overrides, carrier):
    """Every override on the dependency is gone."""
    await lay(overrides)
    await lay(overrides, caller="gateway")
    assert overrides.is_wide("files", "leads")
    assert not overrides.is_wide("files", "gateway")
    carrier.given.clear()
    await overrides.lift(ANNA, dependency="files", caller=None)
    assert {(what.caller, what.mode) for what in carrier.given} == {(None, None), ("gateway", None)}
    assert not overrides.is_wide("files", "leads")
