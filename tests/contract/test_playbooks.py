"""The playbooks of deploy/playbooks: each can be read, and speaks of alerts, edges and services that there are."""

from pathlib import Path

import pytest
import yaml

from services.gateway.ops.incidents.domain import ALERTS
from services.gateway.ops.playbooks import reading
from services.gateway.ops.playbooks.domain import CircuitIs, Command, Lay, Lift, NotOverridden, Overridden, Verify

ROOT = Path(__file__).parents[2]
LIBRARY = reading.read(ROOT / "deploy/playbooks")
SERVICES = ("leads", "notify", "files", "health", "gateway")
EDGES = {
    (service, dependency)
    for service in SERVICES
    for dependency in yaml.safe_load((ROOT / f"services/{service}/policies.yaml").read_text())["edges"]
}


def parts(playbook):
    """Every condition and step of a playbook."""
    verifies = [step for step in (*playbook.steps, playbook.verify) if isinstance(step, Verify)]
    return [*playbook.required, *playbook.steps, *(each for verify in verifies for each in verify.conditions)]


def test_every_file_is_a_playbook():
    """None is refused, and those that the failure tables call for are there."""
    assert LIBRARY.refused == {}
    wanted = {
        "files-down",
        "files-refuses-credential",
        "health-down",
        "health-slow",
        "notify-hangs",
        "nats-down",
        "dead-letters-replay",
    }
    assert wanted <= LIBRARY.playbooks.keys()


@pytest.mark.parametrize("name", sorted(LIBRARY.playbooks))
def test_a_playbook_speaks_of_what_there_is(name):
    """Its alert is one that incidents are opened with, its edges are in a policies.yaml, its services run."""
    playbook = LIBRARY.playbooks[name]
    assert playbook.trigger is None or playbook.trigger.alert in ALERTS.values()
    for each in parts(playbook):
        if isinstance(each, CircuitIs | Lay | Lift | NotOverridden | Overridden):
            assert (each.caller, each.dependency) in EDGES
        if isinstance(each, Command):
            assert each.service in {*SERVICES, "nats", "postgres"}
