"""The synthetic probe of the object store: on a schedule, harmless, a warning where the store departs."""

import asyncio
import shutil
from pathlib import Path

import pytest
import yaml

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.metrics import REGISTRY
from breakwater.chassis.provider_probes import Found, ProviderProbe
from breakwater.resilience import CircuitState, Policy, PolicySettings
from services.files.exports.objects import ObjectStore, classify
from services.files.exports.probe import look_at

ROOT = Path(__file__).parents[3]


class Keeps(ObjectStore):
    """Forgets to delete."""

    async def delete(self, key):
        pass


def deviates(dependency):
    """What the gauge says."""
    return REGISTRY.get_sample_value("breakwater_provider_deviates", {"dependency": dependency})


@pytest.fixture
def policy():
    return Policy(PolicySettings(caller="files", dependency="objects"), classify=classify)


def probe_of(store, name):
    """A probe under a name of the test's own."""
    return ProviderProbe(name, lambda: look_at(store, "here"), interval_s=60.0, clock=VirtualClock())


async def test_a_store_that_keeps_its_promises_is_left_as_it_was(tmp_path, policy):
    """As recorded, seen in the edge's figures, and no object stays."""
    store = ObjectStore((tmp_path / "objects").as_uri(), policy)
    assert await probe_of(store, "kept").once() is Found.AS_RECORDED
    assert deviates("kept") == 0
    assert policy.snapshot().totals.outcomes["success"] >= 3
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_store_that_departs_raises_a_warning_and_opens_no_circuit(tmp_path, policy):
    """An object that outlives its deletion is found; the edge stays closed, so nobody is paged."""
    assert await probe_of(Keeps((tmp_path / "objects").as_uri(), policy), "keeps").once() is Found.DEVIATES
    assert deviates("keeps") == 1
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_a_store_that_is_out_says_nothing_about_its_contract(tmp_path, policy):
    """An outage is counted as one and leaves the last word about the contract as it was."""
    probe = probe_of(ObjectStore((tmp_path / "objects").as_uri(), policy), "out")
    await probe.once()
    shutil.rmtree(tmp_path / "objects")
    (tmp_path / "objects").write_text("a file where the folder was")
    assert await probe.once() is Found.FAILED
    assert deviates("out") == 0


async def test_a_probe_asks_once_an_interval():
    """Nothing at the start, then one look for each interval of the clock."""
    clock, looks = VirtualClock(), []

    async def look():
        looks.append(clock.monotonic())

    running = asyncio.create_task(ProviderProbe("paced", look, interval_s=60.0, clock=clock).run())
    await clock.advance(59)
    assert looks == []
    await clock.advance(121)
    assert looks == [60.0, 120.0, 180.0]
    running.cancel()


def test_the_alarm_of_a_deviation_is_a_warning_with_a_runbook():
    """The rule reads the metric there is, pages nobody, and its runbook exists."""
    [group] = yaml.safe_load((ROOT / "deploy/prometheus/rules/providers.yaml").read_text())["groups"]
    [rule] = group["rules"]
    assert rule["labels"] == {"severity": "warning"}
    assert any(f"({family.name})" in rule["expr"] for family in REGISTRY.collect())
    assert (ROOT / rule["annotations"]["runbook_url"]).stem == rule["alert"]
    assert (ROOT / rule["annotations"]["runbook_url"]).is_file()
