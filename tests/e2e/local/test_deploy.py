"""A service runs from its release, and a platform started anew runs what was deployed."""

import asyncio
import getpass
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from breakwater.compat import artifacts, canary
from breakwater.local.deployments import LocalTarget
from breakwater.local.state import State
from tests.support.platform import ROOT, running

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(300)]


def code_of(platform, process):
    """Where a running process finds its code; None for the tree."""
    environment = Path(f"/proc/{platform.pid(process)}/environ").read_bytes().decode().split("\0")
    return next((each.split("=", 1)[1] for each in environment if each.startswith("PYTHONPATH=")), None)


@pytest.fixture
def root(tmp_path):
    """The releases there are, with a lock of the test's own."""
    shutil.copytree(ROOT / "contracts", tmp_path / "root/contracts")
    (tmp_path / "root/deploy").mkdir()
    shutil.copy(ROOT / "deploy/lock.yaml", tmp_path / "root/deploy/lock.yaml")
    return tmp_path / "root"


def pinned(root, service):
    """The release of a service in production."""
    return artifacts.deployed(root / "contracts", root / "deploy/lock.yaml", "prod", service)[0]


def the_gate_is_asked_and_ops_is_told(platform, root):
    """A verdict stands on the timeline as it was printed; without an ops to tell it is the same, and says so."""
    asked = "gate", "--candidate", "notify", "--root", str(root), "--tell"
    done = platform.cli(*asked, check=False)
    assert (done.returncode, done.stdout[:3]) == (2, "NO:")
    [entry] = [each for each in platform.ops().get("/v1/timeline").json()["items"] if each["kind"] == "gate_said"]
    said = " ".join(done.stdout.split())
    assert (entry["dependency"], entry["actor"]) == ("notify", getpass.getuser())
    assert entry["text"] == f"the gate, asked by {getpass.getuser()} for prod: {said}"[:1000]
    alone = platform.cli(*asked, "--state", str(root / "nowhere"), check=False)
    assert (alone.returncode, alone.stdout) == (done.returncode, done.stdout)
    assert "Not on the timeline" in alone.stderr


def test_a_release_runs_and_runs_again_after_a_restart_of_the_platform(root, tmp_path):
    """`deploy` switches files to its wheel alone, an unverified release is refused, and the next `up` keeps what runs."""
    state = tmp_path / "state"
    release = pinned(root, "files")
    with running(state) as platform:
        assert code_of(platform, "files") is None
        done = platform.cli("deploy", "files", "pin", "--root", str(root))
        assert done.stdout.startswith(f"YES: files {release.version} -> prod.")
        code = code_of(platform, "files")
        assert Path(code).name.startswith(f"files-{release.version}-{release.digest[:8]}")
        assert code_of(platform, "leads") is None
        target = LocalTarget(State.at(state))
        seen = asyncio.run(canary.check(release, target.reach("files", "gateway")))
        assert (seen.verdict(), seen.examined > 500) == ("SAFE", True)
        foreign = asyncio.run(canary.check(release, target.reach("files", "leads")))
        assert foreign.verdict() == "BREAKING"
        assert "emitted: reject, not accept" in foreign.findings[0].detail
        [entry] = [each for each in platform.ops().get("/v1/timeline").json()["items"] if each["kind"] == "deployed"]
        assert (entry["dependency"], entry["actor"]) == ("files", getpass.getuser())
        assert entry["text"].startswith(f"files {release.version} (sha256:{release.digest[:16]}) deployed to prod")
        assert entry["text"].endswith(", the gate said YES")
        the_gate_is_asked_and_ops_is_told(platform, root)
        the_fronts_run_from_one_wheel_and_are_asked_over_http_too(platform, root, target)
        shutil.rmtree(root / "contracts/verified")
        leads = pinned(root, "leads").version
        refused = platform.cli("deploy", "leads", leads, "--root", str(root), check=False)
        assert (refused.returncode, refused.stdout[:3]) == (1, "NO:")
        assert code_of(platform, "leads") is None
    with running(state) as platform:
        assert code_of(platform, "files") == code
        assert json.loads(platform.cli("status", "--json").stdout)["services"]["files"]["state"] == "ready"


def the_fronts_run_from_one_wheel_and_are_asked_over_http_too(platform, root, target):
    """The canary of the gateway sends callers' tokens as well, and notices one of another issuer's key."""
    release = pinned(root, "gateway")
    platform.cli("deploy", "gateway", release.version, "--root", str(root))
    assert Path(code_of(platform, "gateway")) == Path(code_of(platform, "ops"))
    reached = target.reach("gateway", "ops")
    over_grpc = asyncio.run(canary.check(release, replace(reached, http="")))
    over_both = asyncio.run(canary.check(release, reached))
    assert (over_grpc.verdict(), over_both.verdict()) == ("SAFE", "SAFE")
    assert over_both.examined > over_grpc.examined + 500
    foreign = asyncio.run(canary.check(release, replace(reached, http_key=reached.caller_key)))
    assert foreign.verdict() == "BREAKING"
