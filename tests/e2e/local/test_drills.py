"""Each drill on a running platform: the fault comes, is seen, ends, and the steady state holds."""

import json
import os
import signal
import subprocess

import pytest

from breakwater.cli.drills.plans import PLANS
from tests.support.platform import BREAKWATER, environment, eventually


def processes(platform):
    """States of all processes."""
    status = platform.status()
    named = {**status["services"], "nats": status["nats"], "postgres": status["postgres"]}
    return {name: own["state"] for name, own in named.items()}


def well(platform):
    """Whether everything runs and nothing is forced."""
    return set(processes(platform).values()) == {"ready"} and not platform.status()["overrides"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", list(PLANS))
def test_a_drill_holds_its_steady_state_and_leaves_the_platform_well(breakable, name):
    """Both groups are called in every phase, on-call would have seen the fault, and nothing is left of it."""
    eventually("a platform that is well", lambda: well(breakable), within_s=60)
    done = breakable.cli("drill", name, "--seconds", "6", "--slack", "5", "--json", check=False)
    assert done.returncode in {0, 1}, done.stderr
    told = json.loads(done.stdout)
    assert (told["held"], done.returncode) == (True, 0), [each for each in told["checks"] if not each["held"]]
    assert {each["group"] for each in told["loads"]} == {"affected", "control"}
    assert all(each["requests"] > 0 for each in told["loads"])
    assert well(breakable)


@pytest.mark.timeout(120)
def test_an_interrupted_drill_ends_its_fault(breakable):
    """Ctrl-C in the middle: files runs again before the command is gone."""
    eventually("a platform that is well", lambda: well(breakable), within_s=60)
    drill = subprocess.Popen(
        [BREAKWATER, "drill", "files-down", "--seconds", "100"],
        env=environment(breakable.state),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        eventually("files to be stopped", lambda: processes(breakable)["files"] != "ready", within_s=60)
        os.kill(drill.pid, signal.SIGINT)
        drill.communicate(timeout=60)
    finally:
        drill.kill()
    assert drill.returncode == 1
    assert processes(breakable)["files"] == "ready"


def test_a_drill_refuses_what_it_may_not_break(breakable):
    """No such drill is wrong usage; a remote platform, one that is ill already, and none at all are refused."""
    assert breakable.cli("drill", "everything-down", check=False).returncode == 2
    remote = breakable.cli("drill", "files-down", "--gateway", breakable.ready["gateway"], check=False)
    assert (remote.returncode, "local platform only" in remote.stderr) == (1, True)
    breakable.cli("override", "set", "files", "--mode", "forced-closed", "--reason", "rehearsal", "--ttl", "5m")
    eventually("the override", lambda: breakable.status()["overrides"])
    ill = breakable.cli("drill", "files-down", check=False)
    assert (ill.returncode, "is forced" in ill.stderr) == (1, True)
    assert processes(breakable)["files"] == "ready"
    breakable.cli("override", "clear", "files")
    nowhere = breakable.cli("drill", "files-down", "--state", str(breakable.state / "nothing"), check=False)
    assert (nowhere.returncode, "No platform runs" in nowhere.stderr) == (1, True)
