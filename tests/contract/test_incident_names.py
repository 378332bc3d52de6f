"""What incidents name is there: runbooks, journeys, owners, edges."""

from pathlib import Path

import pytest
import yaml

from services.gateway.ops.incidents.domain import ALERTS, Fault
from services.gateway.ops.incidents.journeys import JOURNEYS
from services.gateway.ops.settings import OWNERS

ROOT = Path(__file__).parents[2]
OBJECTIVES = yaml.safe_load((ROOT / "deploy/slo.yaml").read_text())

pytestmark = pytest.mark.capability(38)


@pytest.mark.parametrize("fault", Fault)
def test_every_kind_of_fault_has_an_alert_with_a_runbook(fault):
    """The link that an incident carries leads somewhere."""
    assert (ROOT / f"docs/runbooks/{ALERTS[fault]}.md").is_file()


def test_journeys_and_owners_are_those_of_the_objectives():
    """One name for a journey and one owner for a dependency, in Prometheus and on the page."""
    assert set(JOURNEYS) == set(OBJECTIVES["journeys"])
    assert {name: each["owner"] for name, each in OBJECTIVES["dependencies"]["objectives"].items()} == OWNERS


def test_journeys_run_over_edges_that_there_are():
    """Each edge of a journey is in its caller's policies."""
    declared = {
        (path.parent.name, dependency)
        for path in (ROOT / "services").rglob("policies.yaml")
        for dependency in yaml.safe_load(path.read_text())["edges"]
    }
    assert frozenset().union(*JOURNEYS.values()) <= declared
