"""The compatibility gate: lets the unchanged pass, stops what breaks a caller, and fails closed."""

import base64
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from breakwater.chassis.auth import ServiceVerifier, TokenRefusedError
from breakwater.chassis.auth.claims import Reason
from breakwater.compat import artifacts, gate, release, replay

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.capability(36, 37)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A tree with files 1.0.0 released and deployed."""
    root = tmp_path_factory.mktemp("released")
    shutil.copytree(ROOT / "proto", root / "proto")
    (root / "deploy").mkdir()
    release.write(root, "files", "1.0.0")
    release.record(root, "files", "1.0.0", "prod")
    return root


@pytest.fixture
def tree(released, tmp_path):
    """A copy of that tree to change."""
    return shutil.copytree(released, tmp_path / "tree")


def edit(root, old, new):
    """Changes the files proto in one place."""
    path = root / "proto/breakwater/files/v1/files.proto"
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def test_the_unchanged_candidate_passes(tree):
    """The null change is SAFE, and something was looked at."""
    report = gate.run(tree, "files", "prod")
    assert report.exit_code() == 0, report.first_line()
    assert all(check.examined > 0 for check in report.checks)
    assert sum(check.examined for check in report.checks) > 200


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string sha256 = 6;", "string sha256 = 9;"),
        ("string sha256 = 6;", "bytes sha256 = 6;"),
        ("string sha256 = 6;", ""),
        ("rpc GetExport(GetExportRequest) returns (GetExportResponse);", ""),
        ("returns (stream ReadContentResponse)", "returns (ReadContentResponse)"),
        ("repeated string fields = 3;", "string fields = 3;"),
    ],
)
def test_a_proto_change_that_breaks_a_caller_is_stopped(tree, old, new):
    """Removed, renumbered and retyped fields and RPCs: NO, with the place in the first line."""
    edit(tree, old, new)
    report = gate.run(tree, "files", "prod")
    assert report.exit_code() == 1
    assert report.first_line().startswith("NO: files -> prod. BREAKING proto: files 1.0.0")


def test_an_added_field_passes(tree):
    """What only adds is compatible."""
    edit(tree, "string sha256 = 6;", "string sha256 = 6;\n  // Added later.\n  string note = 60;")
    assert gate.run(tree, "files", "prod").exit_code() == 0


class RefusesEverybody(ServiceVerifier):
    """Reads its token elsewhere, as in the outage: nobody it knew gets in."""

    async def verify(self, token):
        raise TokenRefusedError(Reason.MISSING)


class RefusesTheOldName(ServiceVerifier):
    """Lost the older name of the algorithm."""

    async def verify(self, token):
        caller = await super().verify(token)
        if b'"EdDSA"' in base64.urlsafe_b64decode(token.split(".")[0] + "==="):
            raise TokenRefusedError(Reason.ALGORITHM)
        return caller


class LetsEverybodyIn(ServiceVerifier):
    """Does not look at the signature any more."""

    async def verify(self, token):
        return "gateway"


def test_a_verifier_that_reads_its_token_elsewhere_is_stopped(tree, monkeypatch):
    """The founding outage: what the gateway really sends is refused. NO, naming the gateway and the cure."""
    monkeypatch.setattr(replay, "ServiceVerifier", RefusesEverybody)
    report = gate.run(tree, "files", "prod")
    assert report.exit_code() == 1
    assert report.first_line().startswith("NO: files -> prod. BREAKING auth: gateway: files rejects what 1.0.0 accepts")
    assert "Accept both until gateway adapts, or stay on 1.0.0." in report.first_line()


def test_a_narrower_verifier_is_a_warning(tree, monkeypatch):
    """What no known caller emits may be refused: NARROWED, told apart from BREAKING."""
    monkeypatch.setattr(replay, "ServiceVerifier", RefusesTheOldName)
    report = gate.run(tree, "files", "prod")
    assert (report.verdict(), report.exit_code()) == ("NARROWED", 0)


def test_a_looser_verifier_is_stopped(tree, monkeypatch):
    """A verifier that accepts a forged token needs security's approval."""
    monkeypatch.setattr(replay, "ServiceVerifier", LetsEverybodyIn)
    report = gate.run(tree, "files", "prod")
    assert report.exit_code() == 1
    assert "LOOSENED auth" in report.first_line()


def corrupt(path):
    """Changes one byte."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def lock_with(root, **entry):
    """Replaces what the lock says of files."""
    lock = {"environments": {"prod": {"files": [entry]}}}
    (root / "deploy/lock.yaml").write_text(yaml.safe_dump(lock))


FAULTS = {
    "no lock": lambda root: (root / "deploy/lock.yaml").unlink(),
    "an empty lock": lambda root: (root / "deploy/lock.yaml").write_text(""),
    "nothing deployed": lambda root: (root / "deploy/lock.yaml").write_text("environments: {prod: {files: []}}"),
    "a range for a version": lambda root: lock_with(root, version=">=1", digest="sha256:" + "0" * 64),
    "latest": lambda root: lock_with(root, version="latest", digest="sha256:" + "0" * 64),
    "no digest": lambda root: lock_with(root, version="1.0.0"),
    "a foreign digest": lambda root: lock_with(root, version="1.0.0", digest="sha256:" + "0" * 64),
    "no contracts": lambda root: shutil.rmtree(root / "contracts"),
    "no image": lambda root: (root / "contracts/files/1.0.0/image.binpb").unlink(),
    "a changed image": lambda root: corrupt(root / "contracts/files/1.0.0/image.binpb"),
    "changed vectors": lambda root: corrupt(root / "contracts/files/1.0.0/vectors.jsonl"),
    "zero vectors": lambda root: (root / "contracts/files/1.0.0/vectors.jsonl").write_text(""),
    "changed sums": lambda root: corrupt(root / "contracts/files/1.0.0/SHA256SUMS"),
    "a file too many": lambda root: (root / "contracts/files/1.0.0/extra").write_text("x"),
    "no protos": lambda root: shutil.rmtree(root / "proto"),
    "a broken proto": lambda root: edit(root, "string sha256 = 6;", "string sha256 ="),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_gate_that_cannot_look_says_no(tree, fault):
    """Whatever the gate lacks, it never passes, and says what it lacks."""
    FAULTS[fault](tree)
    report = gate.run(tree, "files", "prod")
    assert report.exit_code() != 0
    assert report.first_line().startswith("NO: files -> prod.")


def test_zero_vectors_are_unverified_even_with_a_right_hash(tree):
    """A release without vectors, hashes and all, proves nothing."""
    directory = tree / "contracts/files/1.0.0"
    (directory / "vectors.jsonl").write_text("")
    digest = artifacts.write_sums(directory)
    lock_with(tree, version="1.0.0", digest=f"sha256:{digest}")
    report = gate.run(tree, "files", "prod")
    assert (report.verdict(), report.exit_code()) == ("UNVERIFIED", 1)


def test_a_released_version_is_never_written_again(tree):
    """A changed interface needs a new version."""
    with pytest.raises(artifacts.ArtifactError, match="released before"):
        release.write(tree, "files", "1.0.0")


def test_the_report_is_the_same_for_people_and_machines(tree):
    """JSON and JUnit say what the first line says."""
    edit(tree, "string sha256 = 6;", "")
    report = gate.run(tree, "files", "prod")
    document = json.loads(report.to_json())
    assert (document["verdict"], document["exit_code"]) == ("BREAKING", 1)
    suite = ET.fromstring(gate.junit([report])).find("testsuite")
    assert int(suite.get("failures")) == sum(case.find("failure") is not None for case in suite)
    assert int(suite.get("failures")) >= 1
