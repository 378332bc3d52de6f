"""Each drill on a running platform: the fault comes, is seen, ends, and the steady state holds."""

import getpass
import json
import os
import signal
import subprocess

import pytest
import yaml

from breakwater.cli.drills.plans import PLANS
from breakwater.local.deployments import code_of
from breakwater.local.state import State
from tests.support.platform import BREAKWATER, ROOT, environment, eventually


def processes(platform):
    """States of all processes."""
    status = platform.status()
    named = {**status["services"], "nats": status["nats"], "postgres": status["postgres"]}
    return {name: own["state"] for name, own in named.items()}


def well(platform):
    """Whether everything runs and nothing is forced."""
    return set(processes(platform).values()) == {"ready"} and not platform.status()["overrides"]


def drilled(platform, name, *options):
    """What a drill that held told; that each load was called in each phase is one of its checks."""
    if PLANS[name].alarm:
        # Circuits judge a minute of calls: without those of the drills before, a shorter fault opens them.
        platform.cli("service", "restart", "gateway")
    eventually("a platform that is well", lambda: well(platform), within_s=60)
    done = platform.cli("drill", name, *options, "--slack", "5", "--json", check=False, timeout_s=240)
    assert done.returncode in {0, 1}, done.stderr
    told = json.loads(done.stdout)
    assert (told["held"], done.returncode) == (True, 0), [each for each in told["checks"] if not each["held"]]
    return told


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [name for name in PLANS if name != "jwt-outage"])
def test_a_drill_holds_its_steady_state_and_leaves_the_platform_well(breakable, name):
    """Both groups are called in every phase, on-call would have seen the fault, and nothing is left of it."""
    told = drilled(breakable, name, "--seconds", "12" if PLANS[name].alarm else "6")
    assert {each["group"] for each in told["loads"]} == {"affected", "control"}
    assert well(breakable)


@pytest.mark.capability(36, 37)
@pytest.mark.timeout(300)
def test_the_outage_is_stopped_and_forced_past_the_gate_it_loses_no_export(breakable):
    """The gate's NO names dimension and consumer; past it circuit, alarm and degraded files come, and the pin by its digest."""
    lock = (ROOT / "deploy/lock.yaml").read_text()
    told = drilled(breakable, "jwt-outage", "--seconds", "12", "--root", str(ROOT))
    said = {check["name"]: check["said"] for check in told["checks"]}
    pin = yaml.safe_load(lock)["environments"]["prod"]
    first = f"BREAKING auth: gateway {pin['gateway'][0]['version']}: sends authorization: Bearer Ed25519;"
    assert said["the gate stops it"].startswith(f"NO: files -> prod. {first} files reads x-jwt.")
    assert said["deploy refuses it"].startswith(f"NO: files 3.0.0 -> prod. {first} files 3.0.0 reads x-jwt.")
    assert said["the pin is restored"].startswith(pin["files"][0]["digest"][:23])
    during = {each["load"]: each for each in told["loads"] if each["phase"] == "during"}
    assert during["exports"]["degraded"] > 0
    assert set(during["downloads"]["codes"]) >= {"dependency_auth", "circuit_open"}
    assert told["exports"]["asked"] == told["exports"]["whole"] > 12
    assert told["time_to_alarm_s"] is not None
    entries = breakable.ops().get("/v1/timeline").json()["items"]
    deployed = [each for each in reversed(entries) if each["kind"] == "deployed"][-3:]
    assert {(each["dependency"], each["actor"]) for each in deployed} == {("files", getpass.getuser())}
    forced = [each["text"].partition("past a NO: ")[2] for each in deployed]
    assert forced == ["", "breakwater drill jwt-outage", ""], "the pin, the release, the pin again"
    # Nothing of it is left: files runs what the tree holds, which is as it was.
    assert code_of(State.at(breakable.state), "files") is None
    assert list((breakable.state / "releases").iterdir()) == []
    assert (ROOT / "deploy/lock.yaml").read_text() == lock
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
