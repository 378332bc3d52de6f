"""Every alert of deploy/prometheus reads a metric there is and has a runbook by its own name."""

import re
from pathlib import Path

import pytest
import yaml

from breakwater.resilience import Outcome

ROOT = Path(__file__).parents[2]
SOURCES = "".join(path.read_text() for path in (ROOT / "libs/breakwater/chassis").glob("*.py"))
RULES = [
    rule
    for path in sorted((ROOT / "deploy/prometheus").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_runbook_and_reads_what_there_is(rule):
    """The link leads to a page named as the alert; metric and outcome are those that the chassis counts."""
    page = ROOT / rule["annotations"]["runbook_url"]
    assert (page.is_file(), page.stem, page.parent.name) == (True, rule["alert"], "runbooks")
    [name] = re.findall(r"breakwater_[a-z_]+", rule["expr"])
    assert f'"{name.removesuffix("_total")}"' in SOURCES
    for outcome in re.findall(r'outcome="([a-z_]+)"', rule["expr"]):
        assert outcome in set(Outcome)
