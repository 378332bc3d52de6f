"""Policies as data: read from a document, checked as a whole, found by dependency."""

from dataclasses import fields
from datetime import timedelta

import pytest

from breakwater.resilience import Override, OverrideMode, PolicyRegistry, PolicySettings
from breakwater.resilience.errors import CircuitOpenError, InvalidPolicyError


def test_settings_are_read_from_a_mapping():
    """Names are those of the fields; whole numbers do where numbers are asked for."""
    settings = PolicySettings.from_mapping("gateway", "leads", {"attempt_timeout_s": 3, "probes": 5})
    assert (settings.attempt_timeout_s, settings.probes) == (3.0, 5)
    assert isinstance(settings.attempt_timeout_s, float)


def test_every_error_of_the_settings_is_told_at_once():
    """Unknown names, wrong types and broken rules, each with its edge and field."""
    with pytest.raises(InvalidPolicyError) as refused:
        PolicySettings.from_mapping(
            "gateway",
            "leads",
            {
                "attemt_timeout_s": 1,
                "attempt_timer": "no",
                "probes": 2.5,
                "backoff_s": float("inf"),
                "concurrency_max": 0,
                "error_rate_max": 1.5,
                "calls_enough": 3,
                "queue_max": -1,
            },
        )
    fields_told = [error.split(":")[0].removeprefix("gateway -> leads.") for error in refused.value.errors]
    assert fields_told == [
        "attemt_timeout_s",
        "attempt_timer",
        "probes",
        "backoff_s",
        "concurrency_max",
        "queue_max",
        "error_rate_max",
        "calls_enough",
    ]


@pytest.mark.parametrize("value", [True, None, "1", [1]])
def test_only_numbers_are_numbers(value):
    """YAML's `yes`, empty and quoted values are wrong types, not ones."""
    with pytest.raises(InvalidPolicyError):
        PolicySettings.from_mapping("gateway", "leads", {"attempts_max": value})


def test_a_lease_shorter_than_an_attempt_is_refused():
    """Such a permit would be lent twice while its probe is still under way."""
    with pytest.raises(InvalidPolicyError, match="probe_lease_s"):
        PolicySettings(caller="a", dependency="b", attempt_timeout_s=20)


def test_every_setting_states_its_unit_or_counts_things():
    """Units come last, or before `_max` and `_min` (style.md)."""
    counted = {"attempt_timer", "attempts_max", "concurrency_max", "queue_max", "calls_min", "calls_enough", "probes"}
    for field in fields(PolicySettings):
        if field.name in counted | {"caller", "dependency"}:
            continue
        stem = field.name.removesuffix("_max")
        assert stem.endswith(("_s", "_rate", "_ratio", "_tokens")), field.name


def test_a_document_declares_the_edges_of_a_caller():
    """Defaults hold for every edge that does not say otherwise."""
    registry = PolicyRegistry.from_mapping(
        "gateway", {"defaults": {"attempts_max": 2}, "edges": {"leads": None, "files": {"attempts_max": 1}}}
    )
    assert [policy.settings.dependency for policy in registry] == ["leads", "files"]
    assert registry["leads"].settings.attempts_max == 2
    assert registry["files"].settings.attempts_max == 1


def test_every_error_of_a_document_is_told_at_once():
    """Errors of several edges come together."""
    with pytest.raises(InvalidPolicyError) as refused:
        PolicyRegistry.from_mapping("gateway", {"edges": {"leads": {"probes": 0}, "files": {"nonsense": 1}, "x": 3}})
    assert refused.value.errors == (
        "gateway -> leads.probes: must be above 0",
        "gateway -> files.nonsense: unknown setting",
        "gateway -> x: must be a mapping",
    )


@pytest.mark.parametrize("document", [{"edge": {}}, {"edges": []}, {"edges": {}, "defaults": 3}])
def test_a_misspelt_section_is_an_error(document):
    """Nothing of a document is silently ignored."""
    with pytest.raises(InvalidPolicyError):
        PolicyRegistry.from_mapping("gateway", document)


def test_an_undeclared_edge_is_an_error_that_names_the_declared_ones():
    """No call goes unguarded for want of a policy."""
    registry = PolicyRegistry.from_mapping("gateway", {"edges": {"leads": {}}})
    with pytest.raises(KeyError, match="gateway -> files; declared: leads"):
        registry["files"]


async def test_the_registry_overrides_by_caller_and_dependency(clock, dependency):
    """Without a caller every edge to the dependency is meant; another caller's is left alone."""
    registry = PolicyRegistry.from_mapping("gateway", {"edges": {"leads": {}, "files": {}}}, clock=clock)
    override = Override(OverrideMode.FORCED_OPEN, "li", "drill", clock.now() + timedelta(minutes=1))
    assert not registry.apply("leads", override, caller="files")
    assert not registry.apply("nats", override)
    assert registry.apply("leads", override)
    assert [snapshot.forced for snapshot in registry.snapshots()] == [OverrideMode.FORCED_OPEN, None]
    with pytest.raises(CircuitOpenError):
        await registry["leads"].call(dependency)
    assert await registry["files"].call(dependency) == "answer"


async def test_every_listener_of_the_registry_hears_every_edge(clock):
    """One that fails neither fails the call nor silences the others."""
    registry = PolicyRegistry.from_mapping("gateway", {"edges": {"leads": {}, "files": {}}}, clock=clock)
    heard = []

    def broken(transition) -> None:
        raise RuntimeError

    registry.listen(broken)
    registry.listen(heard.append)
    for dependency in ("leads", "files"):
        registry.apply(dependency, Override(OverrideMode.SHADOW, "li", "drill", clock.now() + timedelta(minutes=1)))
    assert [(event.caller, event.dependency) for event in heard] == [("gateway", "leads"), ("gateway", "files")]
