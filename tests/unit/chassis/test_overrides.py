"""The overrides a process holds: which one governs, and when they end."""

from datetime import timedelta

import pytest

from breakwater.chassis.errors import InvalidRequestError
from breakwater.chassis.overrides import Overrides
from breakwater.edges.v1 import edges_pb2
from breakwater.resilience import OverrideMode, PolicyRegistry, PolicySettings

OPEN = edges_pb2.OVERRIDE_MODE_FORCED_OPEN
SHADOW = edges_pb2.OVERRIDE_MODE_SHADOW
LIFT = edges_pb2.OVERRIDE_MODE_UNSPECIFIED


@pytest.fixture
def registry(clock):
    edges = [PolicySettings(caller="gateway", dependency=name) for name in ("files", "leads")]
    return PolicyRegistry("gateway", edges, clock=clock)


@pytest.fixture
def overrides(registry, clock):
    return Overrides(registry, clock)


@pytest.fixture
def override(clock):
    def make(mode=OPEN, *, dependency="files", caller="", ttl_s=60, set_after_s=0, **fields):
        made = edges_pb2.Override(caller=caller, dependency=dependency, mode=mode, actor="ann", reason="drill")
        made.expires_at.FromDatetime(clock.now() + timedelta(seconds=ttl_s))
        made.set_at.FromDatetime(clock.now() + timedelta(seconds=set_after_s))
        for name, value in fields.items():
            made.ClearField(name) if value is None else setattr(made, name, value)
        return made

    return make


def forced(registry, dependency="files"):
    return registry[dependency].snapshot().forced


async def test_an_override_governs_until_it_ends_by_itself(overrides, override, registry, clock):
    """Nobody has to be there to lift it."""
    assert overrides.take(override(ttl_s=60)) == 1
    assert forced(registry) is OverrideMode.FORCED_OPEN
    assert forced(registry, "leads") is None
    await clock.advance(60)
    overrides.settle()
    assert forced(registry) is None


async def test_the_narrower_override_governs_and_the_wider_one_takes_over(overrides, override, registry, clock):
    """For one caller before for all; when it ends, what was set for all is in force again."""
    overrides.take(override(OPEN, ttl_s=60))
    overrides.take(override(SHADOW, caller="gateway", ttl_s=30))
    assert forced(registry) is OverrideMode.SHADOW
    await clock.advance(31)
    overrides.settle()
    assert forced(registry) is OverrideMode.FORCED_OPEN


def test_the_later_decision_wins_whatever_arrives_first(overrides, override, registry):
    """Key-value bucket and gRPC may race."""
    overrides.take(override(LIFT, set_after_s=2))
    overrides.take(override(OPEN, set_after_s=1))
    assert forced(registry) is None
    overrides.take(override(OPEN, set_after_s=3))
    assert forced(registry) is OverrideMode.FORCED_OPEN


def test_an_override_of_another_edge_concerns_nobody_here(overrides, override, registry):
    """Another caller's, or a dependency this process does not call."""
    assert overrides.take(override(caller="leads")) == 0
    assert overrides.take(override(dependency="wecom")) == 0
    assert forced(registry) is None


@pytest.mark.parametrize("field", ["actor", "reason", "expires_at"])
def test_an_override_without_actor_reason_or_end_is_refused(overrides, override, registry, field):
    """The problem names the field."""
    with pytest.raises(InvalidRequestError) as refused:
        overrides.take(override(**{field: None}))
    assert [error.field for error in refused.value.errors] == [f"override.{field}"]
    assert forced(registry) is None


def test_an_override_that_has_ended_already_changes_nothing(overrides, override, registry):
    """A message that was long on its way."""
    overrides.take(override(ttl_s=-1))
    assert forced(registry) is None
