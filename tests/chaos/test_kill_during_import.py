"""kill -9 of each process in turn while an import runs: nothing acknowledged is lost, nothing happens twice."""

import json
import os
import random
import signal
import subprocess
from contextlib import suppress

import pytest

from tests.support import platform as support
from tests.support.platform import BREAKWATER, environment, eventually

ROWS = 6_000
VICTIMS = ["leads", "notify", "files", "health", "gateway", "ops", "nats", "postgres"]


def leads_file(path, source, seed):
    """Leads that are all open and all different, from one source that names the test."""
    numbers = random.Random(seed).sample(range(10**8), ROWS)
    rows = (f"客户{number},公司{number},139{number:08d},{source}" for number in numbers)
    path.write_text("姓名,公司,手机,来源\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def counts(platform, source):
    """Leads, leads with an owner, assignments, assignments with an owner, in-app notifications, of one source."""
    [row] = platform.sql(
        """
        SELECT (SELECT count(*) FROM leads.leads WHERE source = $1) AS leads,
               (SELECT count(*) FROM leads.leads WHERE source = $1 AND owner_id IS NOT NULL) AS owned,
               (SELECT count(*) FROM leads.assignments a JOIN leads.leads l ON l.id = a.lead_id
                WHERE l.source = $1) AS assignments,
               (SELECT count(DISTINCT n.subject) FROM notify.notifications n JOIN leads.leads l
                ON n.subject = 'lead:' || l.id::text WHERE l.source = $1 AND n.kind = 'lead_assigned') AS notified,
               (SELECT count(*) FROM notify.notifications n JOIN leads.leads l
                ON n.subject = 'lead:' || l.id::text WHERE l.source = $1 AND n.kind = 'lead_assigned') AS notifications
        """,
        source,
    )
    return row


def settled(platform, source):
    """The counts, once every row arrived everywhere and every outbox is empty."""
    found = counts(platform, source)
    return found if set(found.values()) == {ROWS} and platform.unpublished() == 0 else None


def start_import(platform, path):
    """`breakwater import` in the background, which tries again while the platform is away."""
    return subprocess.Popen(
        [BREAKWATER, "import", str(path), "--only", "--json"],
        env=environment(platform.state),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def half_way(platform, source):
    """Whether some rows, and not all, are in."""
    [row] = platform.sql("SELECT count(*) AS leads FROM leads.leads WHERE source = $1", source)
    return row["leads"] > 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_killed_process_loses_and_doubles_nothing(platform, tmp_path, victim):
    """Acknowledged rows = leads = assignments = distinct notifications, outboxes empty, no dead letters."""
    source = f"kill-{victim}"
    path = leads_file(tmp_path / "leads.csv", source, seed=VICTIMS.index(victim))
    command = start_import(platform, path)
    try:
        eventually("the import to have begun", lambda: half_way(platform, source), every_s=0.02)
        os.kill(platform.pid(victim), signal.SIGKILL)
        out, err = command.communicate(timeout=120)
    finally:
        command.kill()
    assert command.returncode == 0, err
    [report] = json.loads(out)["imports"]
    assert (report["state"], report["rows"], report["rejected"]) == ("completed", ROWS, 0)
    with suppress(AssertionError):
        eventually("everything to arrive", lambda: settled(platform, source), within_s=90, every_s=0.3)
    assert counts(platform, source) == dict.fromkeys(counts(platform, source), ROWS)
    assert settled(platform, source), "an outbox is not empty"
    assert json.loads(platform.cli("dlq", "list", "--json").stdout) == []


@pytest.mark.timeout(240)
def test_a_killed_launcher_loses_and_doubles_nothing(tmp_path):
    """Everything dies with the launcher; the next start goes on where the import was."""
    state = tmp_path / "state"
    first = support.start(state)
    source = "kill-launcher"
    path = leads_file(tmp_path / "leads.csv", source, seed=99)
    command = start_import(first, path)
    eventually("the import to have begun", lambda: half_way(first, source), every_s=0.02)
    first.process.kill()
    first.process.wait(timeout=10)
    second = support.start(state)
    try:
        command.communicate(timeout=120)
        eventually("everything to arrive", lambda: settled(second, source), within_s=90, every_s=0.3)
        assert json.loads(second.cli("dlq", "list", "--json").stdout) == []
    finally:
        command.kill()
        second.stop()
