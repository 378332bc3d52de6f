"""A deployment asks the matrix first, goes back to the pin when it must, and writes down what runs."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from breakwater.compat import canary, deploying
from breakwater.compat.release import Forced
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.local.deployments import Reached
from breakwater.local.errors import ServerStartError

ROOT = Path(__file__).parents[2]

PINS = yaml.safe_load((ROOT / "deploy/lock.yaml").read_text())["environments"]["prod"]
PIN = PINS["files"][0]["version"]

pytestmark = pytest.mark.capability(36, 37)


class Target:
    """Remembers what it was switched to; `failing` is how many switches do not serve."""

    def __init__(self, failing=0):
        self.switched = []
        self.failing = failing

    def switch(self, service, version, digest, wheel):
        assert wheel.is_file()
        self.switched.append((service, version))
        if len(self.switched) <= self.failing:
            raise ServerStartError(f"{service} does not start")

    def reach(self, service, caller):
        return Reached(f"{service}:1", {"owner": caller})


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """What the canary is found to do: as released, unless a test says otherwise."""
    findings = []

    async def check(release, reached):
        assert reached == Reached(f"{release.service}:1", {"owner": "gateway"})
        return CheckResult("canary", 1, tuple(findings))

    monkeypatch.setattr(canary, "check", check)
    return findings


@pytest.fixture
def tree(tmp_path):
    """The releases there are, and what runs."""
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/lock.yaml", tmp_path / "deploy/lock.yaml")
    return tmp_path


def lock_of(tree):
    return yaml.safe_load((tree / "deploy/lock.yaml").read_text())["environments"]["prod"]


def unverify(tree):
    shutil.rmtree(tree / "contracts/verified")


def test_a_verified_release_is_switched_to_and_recorded(tree):
    """YES: it runs, and the lock names it without any reason."""
    target = Target()
    report = deploying.deploy(tree, "files", PIN, "prod", target)
    assert report.exit_code() == 0
    assert target.switched == [("files", PIN)]
    assert "forced" not in lock_of(tree)["files"][0]


def test_a_no_touches_nothing(tree):
    """Unverified: neither the target nor the lock hears of it."""
    unverify(tree)
    before, target = lock_of(tree), Target()
    assert deploying.deploy(tree, "files", PIN, "prod", target).exit_code() == 1
    assert target.switched == []
    assert lock_of(tree) == before


def test_a_failed_verification_touches_nothing(tree):
    """A pair that was found to break: the first line says which, and neither the target nor the lock hears of it."""
    results = tree / f"contracts/verified/files/{PIN}.json"
    kept = json.loads(results.read_text())
    broken = {
        "verdict": "BREAKING",
        "dimension": "auth",
        "subject": "gateway 1.2.3",
        "detail": "sends a",
        "cure": "Wait.",
    }
    gateway = ["gateway", PINS["gateway"][0]["version"]]
    next(each for each in kept if each["consumer"][:2] == gateway)["findings"] = [broken]
    results.write_text(json.dumps(kept))
    before, target = lock_of(tree), Target()
    report = deploying.deploy(tree, "files", PIN, "prod", target)
    assert report.first_line().startswith(f"NO: files {PIN} -> prod. BREAKING auth: gateway 1.2.3: sends a.")
    assert (target.switched, lock_of(tree)) == ([], before)


def test_what_is_forced_past_a_no_is_written_down(tree):
    """Who it was and why stands in the lock for as long as the release runs, and goes with it."""
    kept = tree / "contracts/verified"
    kept.rename(tree / "verified")
    target = Target()
    deploying.deploy(tree, "files", PIN, "prod", target, forced=Forced("ada", "drill"))
    assert target.switched == [("files", PIN)]
    assert lock_of(tree)["files"][0]["forced"] == {"by": "ada", "reason": "drill"}
    (tree / "verified").rename(kept)
    deploying.deploy(tree, "files", PIN, "prod", target, forced=Forced("ada", "drill"))
    assert "forced" not in lock_of(tree)["files"][0]


def test_a_release_that_does_not_serve_gives_way_to_the_pin(tree):
    """The pin runs again, the lock still names it, and the error says both."""
    before, target = lock_of(tree), Target(failing=1)
    with pytest.raises(deploying.NotDeployedError, match=f"{re.escape(PIN)} runs again: files does not start"):
        deploying.deploy(tree, "files", PIN, "prod", target)
    assert len(target.switched) == 2
    assert lock_of(tree) == before


def test_a_canary_that_does_otherwise_gives_way_to_the_pin(tree, seen):
    """It serves, but not as it did when it was released: the pin runs again, and the lock still names it."""
    seen.append(Finding(Verdict.BREAKING, "canary", f"files {PIN}", "does otherwise"))
    before, target = lock_of(tree), Target()
    with pytest.raises(deploying.NotDeployedError, match=f"does otherwise; {re.escape(PIN)} runs again"):
        deploying.deploy(tree, "files", PIN, "prod", target)
    assert len(target.switched) == 2
    assert lock_of(tree) == before
