"""The overrides a process holds: which one governs, and when they end."""

from datetime import timedelta

import pytest

from breakwater.chassis.errors import InvalidRequestError
from breakwater.chassis.overrides import KINDS, MODES, Overrides, fault_from, fault_to
from breakwater.edges.v1 import edges_pb2
from breakwater.resilience import OverrideMode, PolicyRegistry, PolicySettings
from breakwater.resilience.faults import Fault, FaultKind

OPEN = edges_pb2.OVERRIDE_MODE_FORCED_OPEN
SHADOW = edges_pb2.OVERRIDE_MODE_SHADOW
CHAOS = edges_pb2.OVERRIDE_MODE_CHAOS
LIFT = edges_pb2.OVERRIDE_MODE_UNSPECIFIED


@pytest.fixture
def registry(clock):
    edges = [PolicySettings(caller="gateway", dependency=name) for name in ("files", "leads")]
    return PolicyRegistry("gateway", edges, clock=clock)


@pytest.fixture
def overrides(registry, clock):
    return Overrides(registry, clock, chaos_allowed=True)


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


def chaos(override, **fault):
    made = override(CHAOS)
    wanted = {"kind": edges_pb2.FAULT_KIND_RESET, "share": 1.0, "latency_s_max": 30.0, **fault}
    made.fault.CopyFrom(edges_pb2.Fault(**wanted))
    return made


def test_a_fault_is_injected_until_it_is_lifted(overrides, override, registry):
    """As any override; the snapshot shows what it does."""
    overrides.take(chaos(override, share=0.5))
    snapshot = registry["files"].snapshot()
    assert snapshot.forced is OverrideMode.CHAOS
    assert snapshot.override.fault == Fault(kind=FaultKind.RESET, share=0.5)
    overrides.take(override(LIFT, set_after_s=1))
    assert forced(registry) is None


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        ({"share": 0.0}, "fault.share"),
        ({"kind": edges_pb2.FAULT_KIND_LATENCY}, "fault.latency_p50_s"),
        ({"kind": edges_pb2.FAULT_KIND_ERROR}, "fault.code"),
        ({"kind": 99}, "fault.kind"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(overrides, override, registry, fault, field):
    """The problem names the field, and the edge is left alone."""
    with pytest.raises(InvalidRequestError) as refused:
        overrides.take(chaos(override, **fault))
    assert [error.field for error in refused.value.errors] == [field]
    assert forced(registry) is None


def test_chaos_without_a_fault_is_refused(overrides, override):
    """It would do nothing, and look as if it did."""
    with pytest.raises(InvalidRequestError, match="not complete"):
        overrides.take(override(CHAOS))


def test_where_chaos_is_not_allowed_a_process_refuses_it_itself(registry, override, clock):
    """Whoever laid it, and by whatever way it came; other overrides are taken."""
    guarded = Overrides(registry, clock)
    with pytest.raises(InvalidRequestError) as refused:
        guarded.take(chaos(override))
    assert refused.value.errors[0].field == "override.mode"
    assert forced(registry) is None
    guarded.take(override(SHADOW))
    assert forced(registry) is OverrideMode.SHADOW


def test_a_mode_of_a_newer_release_is_refused_and_lifts_nothing(overrides, override, registry):
    """What is not understood must not end what is in force."""
    overrides.take(override(OPEN))
    with pytest.raises(InvalidRequestError, match="cannot be taken"):
        overrides.take(override(99, set_after_s=1))
    assert forced(registry) is OverrideMode.FORCED_OPEN


def test_the_process_that_lays_overrides_takes_only_those_that_name_it(override, clock):
    """It must not cut itself off from those it has to reach."""
    edges = [PolicySettings(caller="ops", dependency="files")]
    registry = PolicyRegistry("ops", edges, clock=clock)
    overrides = Overrides(registry, clock, own_only=True)
    assert overrides.take(override(OPEN)) == 0
    assert forced(registry) is None
    assert overrides.take(override(OPEN, caller="ops")) == 1
    assert forced(registry) is OverrideMode.FORCED_OPEN


def test_every_mode_and_kind_has_a_wire_form():
    """None is forgotten when one is added; a fault comes back as it went."""
    assert set(MODES.values()) == set(OverrideMode)
    assert set(KINDS.values()) == set(FaultKind)
    for kind in FaultKind:
        needed = (
            {"latency_p50_s": 0.5, "latency_p99_s": 2.0} if kind in {FaultKind.LATENCY, FaultKind.SLOW_BODY} else {}
        )
        code = "UNAVAILABLE" if kind is FaultKind.ERROR else ""
        fault = Fault(kind=kind, share=0.25, control_share=0.5, code=code, **needed)
        assert fault_from(fault_to(fault)) == fault
