"""Pacts of HTTP consumers: what the real command asks, held against the running process with no header overridden."""

import json
import shutil
from pathlib import Path

import pytest

from breakwater.compat import artifacts, candidate, events, peers
from breakwater.compat.artifacts import ArtifactError
from breakwater.compat.consumers import check, recorded, recorder
from breakwater.compat.consumers.recorded import ConsumerPact
from breakwater.local.topology import PROCESSES

ROOT = Path(__file__).parents[2]
EDGE = "services/gateway/http/edge.py"

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
async def moved(place, tmp_path_factory):
    """An ops process that reads its callers' token from x-jwt."""
    root = tmp_path_factory.mktemp("moved")
    for name in ("libs", "services"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / EDGE).read_text()
    assert 'call.header("authorization")' in text
    (root / EDGE).write_text(text.replace('call.header("authorization")', 'call.header("x-jwt")'))
    await events.prepare_streams(place)
    async with (
        peers.standing_in(name for name in PROCESSES if name != "ops") as neighbours,
        candidate.running(place, root, "ops", neighbours.addresses, settings={"ENVIRONMENT": "production"}) as ops,
    ):
        yield ops


async def test_the_pinned_pacts_are_what_the_real_command_asks():
    """The command runs again: methods, paths, queries, headers, bodies and what it leans on are as pinned."""
    for process, pact in (await recorder.record(ROOT)).items():
        pinned = next(each for each in recorded.of_provider(ROOT, process) if each.consumer == "cli")
        asked, before = (asked_by(each) for each in (pact, json.loads(pinned.text)))
        assert asked == before


def asked_by(pact):
    """Of each interaction what any run of the command does the same."""
    return {
        each["description"]: (
            each["request"]["method"], each["request"]["path"], sorted(each["request"]["headers"]),
            each["request"].get("query"), each["request"].get("body"), sorted(each["response"]["body"]["content"]),
        )
        for each in pact["interactions"]
    }  # fmt: skip


async def test_a_process_that_reads_its_token_elsewhere_breaks_its_consumers(place, moved):
    """The change that Pact's own override hides: BREAKING, and the finding names the consumer and its version."""
    result = await check.kept(place, ROOT, moved)
    assert result.verdict() == "BREAKING"
    assert {finding.subject for finding in result.findings} == {"cli 0.1.0"}
    assert len(result.findings) == result.examined >= 5
    assert all("401" in finding.detail for finding in result.findings)


async def test_a_pact_that_pact_does_not_take_blocks(place, moved, monkeypatch):
    """What cannot be read was not held."""
    monkeypatch.setattr(check, "of_provider", lambda *_: [ConsumerPact("cli", "0.1.0", "ops", "no pact", 1)])
    assert "Failed to load" in (await check.kept(place, ROOT, moved)).findings[0].detail


async def test_a_verifier_that_crashes_fails_the_gate(place, moved, monkeypatch):
    """A Pact that writes no result has shown nothing."""
    monkeypatch.setattr(check, "VERIFIER", "breakwater.compat.consumers.nowhere")
    with pytest.raises(RuntimeError, match="Pact failed"):
        await check.kept(place, ROOT, moved)


async def test_a_process_without_any_pact_is_unverified(place, moved, monkeypatch):
    """Nothing was asked, so nothing was shown."""
    monkeypatch.setattr(check, "of_provider", lambda *_: [])
    assert (await check.kept(place, ROOT, moved)).verdict() == "UNVERIFIED"


def repinned(root, text):
    """Replaces the pact of ops, hashes and pin included."""
    directory = root / "contracts/pacts/cli/0.1.0"
    (directory / "ops.json").write_text(text)
    digest = artifacts.write_sums(directory)
    (root / "contracts/pacts/versions.yaml").write_text(f"cli: {{version: 0.1.0, digest: 'sha256:{digest}'}}\n")


FAULTS = {
    "no pins": lambda root: (root / "contracts/pacts/versions.yaml").unlink(),
    "pins that are none": lambda root: (root / "contracts/pacts/versions.yaml").write_text("[]"),
    "a pin without digest": lambda root: (root / "contracts/pacts/versions.yaml").write_text("cli: {version: 0.1.0}"),
    "a missing version": lambda root: shutil.rmtree(root / "contracts/pacts/cli/0.1.0"),
    "a changed pact": lambda root: (root / "contracts/pacts/cli/0.1.0/ops.json").write_text("{}"),
    "a pact too many": lambda root: (root / "contracts/pacts/cli/0.1.0/leads.json").write_text("{}"),
    "a pact that is none": lambda root: repinned(root, "{}"),
    "a pact that says nothing": lambda root: repinned(root, '{"provider": {"name": "ops"}, "interactions": []}'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_pacts_that_are_not_as_pinned_are_refused(tmp_path, fault):
    """Missing, changed or senseless: the gate stops, and says what it lacks."""
    shutil.copytree(ROOT / "contracts/pacts", tmp_path / "contracts/pacts")
    assert recorded.of_provider(tmp_path, "ops")
    FAULTS[fault](tmp_path)
    with pytest.raises(ArtifactError, match="contracts/pacts"):
        recorded.of_provider(tmp_path, "ops")


def test_a_version_is_recorded_once(tmp_path):
    """What a consumer asks now needs a new version."""
    shutil.copytree(ROOT / "contracts/pacts", tmp_path / "contracts/pacts")
    with pytest.raises(ArtifactError, match="recorded before"):
        recorder.write(tmp_path, "0.1.0", {})
