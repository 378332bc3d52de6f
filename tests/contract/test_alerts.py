"""The alerts of deploy/prometheus: made of deploy/slo.yaml where it says so, tried by promtool, each with its runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from breakwater.resilience import Outcome
from breakwater.slo import dashboards, generated
from breakwater.slo.objectives import WrongObjectivesError, load
from tests.runbooks.pages import Runbook
from tests.runbooks.register import EXCEPTIONS, REHEARSALS

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RUNBOOKS = ROOT / "docs/runbooks"
REHEARSALS_DOC = ROOT / "docs/rehearsals.md"
SOURCES = "".join(path.read_text() for room in ("libs/breakwater", "services") for path in (ROOT / room).rglob("*.py"))
RULES = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
NAMES = sorted(rule["alert"] for rule in ALERTS)


def run(*command, cwd=ROOT):
    """A program's exit code with what it printed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path):
    """A copy of deploy/ to change."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return tmp_path


def test_rules_and_dashboards_are_what_the_objectives_make():
    """Nobody edited them by hand, and nobody forgot to make them anew."""
    assert generated.stale(ROOT) == []


def test_a_changed_objective_is_found_and_made_anew(tree):
    """A file that differs, is missing, or belongs to nothing is named; writing mends all of it."""
    source = tree / generated.SOURCE
    source.write_text(source.read_text().replace("objective: 0.999\n", "objective: 0.998\n", 1))
    (tree / generated.DASHBOARDS / "platform.json").unlink()
    (tree / generated.DASHBOARDS / "old.json").write_text("{}")
    there = [f"{generated.DASHBOARDS}/{name}.json" for name in ("journeys", "old", "platform")]
    assert generated.stale(tree) == [*there, generated.RULES]
    assert generated.write(tree) == [*there, generated.RULES]
    assert generated.stale(tree) == []
    assert "vector(0.002)" in (tree / generated.RULES).read_text()


WRONG = {
    "an alarm that could never come": ("objective: 0.999\n", "objective: 0.9\n", "cannot be reached"),
    "a promise of more than everything": ("objective: 0.999\n", "objective: 1.5\n", "between 0 and 1"),
    "a window that is none": ("long: 1h", "long: an hour", "no duration"),
    "windows the wrong way round": ("long: 1h, short: 5m", "long: 1h, short: 1h", "not shorter"),
    "a severity nobody routes": ("severity: critical", "severity: high", "critical or warning"),
    "a ratio over no window": ("$window", "5m", "$window"),
    "a journey without an owner": ("    owner: leads\n", "", "owner"),
}


@pytest.mark.parametrize("change", WRONG)
def test_wrong_objectives_are_refused_by_name(tree, change):
    """A file that cannot be meant makes no rules, and the message says where it is wrong."""
    old, new, said = WRONG[change]
    path = tree / generated.SOURCE
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(WrongObjectivesError, match=re.escape(said)):
        load(path)


@pytest.mark.parametrize("file", sorted(path.name for path in (PROMETHEUS / "tests").glob("*.yaml")))
def test_the_rules_do_to_made_series_what_they_must(file):
    """promtool: series that have to fire an alert fire it, and those that must not do not."""
    code, said = run("promtool", "test", "rules", str(PROMETHEUS / "tests" / file))
    assert code == 0, said


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tried_both_ways(name):
    """Somewhere it fires, and somewhere it is asked after and silent; the watchdog alone is never silent."""
    asked = [
        (each["expr"], str(each["exp_samples"]))
        for path in (PROMETHEUS / "tests").glob("*.yaml")
        for case in yaml.safe_load(path.read_text())["tests"]
        for each in case["promql_expr_test"]
    ]
    assert any(f'"{name}"' in samples for _, samples in asked)
    silent = any(name in expr and name not in samples for expr, samples in asked)
    assert silent or name == "BreakwaterWatchdog"


def test_prometheus_and_alertmanager_take_their_configuration():
    """promtool and amtool understand what is deployed, and the routes lead where they should."""
    code, said = run("promtool", "check", "config", "--lint=all", "prometheus.yaml", cwd=PROMETHEUS)
    assert (code, "FAILED" in said) == (0, False), said
    file = str(ROOT / "deploy/alertmanager/alertmanager.yaml")
    code, said = run("amtool", "check-config", file)
    assert code == 0, said
    for labels, receiver in (
        (("alertname=BreakwaterDependencyDown", "severity=critical"), "incidents"),
        (("alertname=BreakwaterGatewayDown", "page=direct"), "on-call"),
        (("alertname=BreakwaterWatchdog", "page=heartbeat"), "heartbeat"),
    ):
        code, said = run("amtool", "config", "routes", "test", f"--config.file={file}", *labels)
        assert (code, said.splitlines()[0]) == (0, receiver)


def test_only_the_incident_engine_pages_but_for_itself_and_the_gateway():
    """What goes past it is named here."""
    direct = {rule["alert"]: rule["labels"]["page"] for rule in ALERTS if "page" in rule["labels"]}
    assert direct == {
        "BreakwaterGatewayDown": "direct",
        "BreakwaterOpsDown": "direct",
        "BreakwaterWatchdog": "heartbeat",
    }


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_and_where_to_go(rule):
    """Severity, summary, description and a runbook that is there by its own name; a dashboard that there is."""
    annotations = rule["annotations"]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert annotations["summary"]
    assert annotations["description"]
    page = ROOT / annotations["runbook_url"]
    assert (page.is_file(), page.stem, page.parent) == (True, rule["alert"], RUNBOOKS)
    dashboard = annotations.get("dashboard_url")
    uids = {json.loads(path.read_text())["uid"] for path in (ROOT / generated.DASHBOARDS).glob("*.json")}
    assert dashboard is None or dashboard.removeprefix("/d/") in uids


EXPRESSIONS = {f"{rule.get('alert') or rule['record']} {rule['expr']}": rule["expr"] for rule in RULES} | {
    expr: expr
    for made in dashboards.dashboards(generated.objectives(ROOT)).values()
    for expr in dashboards.queries(made)
}


def test_rules_and_dashboards_read_what_there_is():
    """Every metric is one that the code exports or a rule records; every outcome is one that an attempt can have."""
    unknown = set()
    for expr in EXPRESSIONS.values():
        unknown |= set(re.findall(r"breakwater:[a-z_]+:[a-z0-9]+", expr)) - RECORDED
        for name in re.findall(r"\bbreakwater_[a-z_]+", expr):
            bare = re.sub(r"_(total|bucket|count|sum)$", "", name)
            if f'"{bare}"' not in SOURCES and f'"{name}"' not in SOURCES:
                unknown.add(name)
        for outcome in re.findall(r'breakwater_edge_requests_total{[^}]*outcome[!=]?[=~]+"([a-z_|]+)"', expr):
            unknown |= set(outcome.split("|")) - set(Outcome)
    assert len(EXPRESSIONS) > 100
    assert unknown == set()


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_is_of_an_alert_and_its_links_lead_somewhere(page):
    """No page outlives its alert; what it means, who is hurt, what to press and when it is over stand in it."""
    text = page.read_text()
    assert page.stem in NAMES
    assert text.startswith(f"# {page.stem}\n")
    for part in ("**Who is hurt.**", "## Press", "## Over when"):
        assert part in text
    broken = [link for link in re.findall(r"\]\(([^)#]+)", text) if not (page.parent / link).exists()]
    assert broken == []


def test_every_runbook_is_executed_once_or_says_why_not():
    """None is forgotten, in the register or in what people read of it."""
    executed = [name for each in REHEARSALS for name in each.runbooks]
    assert sorted([*executed, *EXCEPTIONS]) == sorted(set(NAMES))
    told = dict(re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (.+) \|$", REHEARSALS_DOC.read_text(), re.MULTILINE))
    where = {True: "by CI and by `make proof-runbooks`", False: "by `make proof-runbooks`"}
    known = {name: f"`{each.name}`, {where[each.sampled]}" for each in REHEARSALS for name in each.runbooks}
    assert told == known | {name: f"not: {reason}" for name, reason in EXCEPTIONS.items()}


@pytest.mark.parametrize("name", [name for each in REHEARSALS for name in each.runbooks])
def test_a_runbook_that_is_executed_tells_what_to_break_and_what_to_press(name):
    """A rehearsal without a fault, or a cure of words, would prove nothing."""
    page = Runbook.read(name)
    assert page.fault
    assert re.search(r"breakwater (service|override clear|playbook run)|^mv ", page.press, re.MULTILINE)


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_names_commands_that_there_are(page):
    """Every `breakwater …` in it is a command."""
    named = set(re.findall(r"breakwater ([a-z][a-z-]+)", page.read_text()))
    commands = {
        path.stem.rstrip("_").replace("_", "-") for path in (ROOT / "libs/breakwater/cli/commands").glob("[a-z]*.py")
    }
    assert named <= commands
