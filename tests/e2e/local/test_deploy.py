"""A service runs from its release, and a platform started anew runs what was deployed."""

import asyncio
import json
import shutil
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


def test_a_release_runs_and_runs_again_after_a_restart_of_the_platform(root, tmp_path):
    """`deploy` switches files to its wheel alone, an unverified release is refused, and the next `up` keeps what runs."""
    state = tmp_path / "state"
    with running(state) as platform:
        assert code_of(platform, "files") is None
        done = platform.cli("deploy", "files", "0.1.0", "--root", str(root))
        assert done.stdout.startswith("YES: files 0.1.0 -> prod.")
        code = code_of(platform, "files")
        assert Path(code).name.startswith("files-0.1.0-")
        assert code_of(platform, "leads") is None
        release = artifacts.find(root / "contracts", "files", "0.1.0")
        target = LocalTarget(State.at(state))
        seen = asyncio.run(canary.check(release, target.reach("files", "gateway")))
        assert (seen.verdict(), seen.examined > 500) == ("SAFE", True)
        foreign = asyncio.run(canary.check(release, target.reach("files", "leads")))
        assert foreign.verdict() == "BREAKING"
        assert "emitted: reject, not accept" in foreign.findings[0].detail
        shutil.rmtree(root / "contracts/verified")
        refused = platform.cli("deploy", "leads", "0.1.0", "--root", str(root), check=False)
        assert (refused.returncode, refused.stdout[:3]) == (1, "NO:")
        assert code_of(platform, "leads") is None
    with running(state) as platform:
        assert code_of(platform, "files") == code
        assert json.loads(platform.cli("status", "--json").stdout)["services"]["files"]["state"] == "ready"
