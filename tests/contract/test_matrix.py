"""Provider versions x consumer versions: looked up as brute force finds it, and a NO for what was never verified."""

import json
import shutil
import time
from pathlib import Path

import pytest

from breakwater.compat import artifacts, matrix, release, replay
from breakwater.compat.artifacts import ArtifactError

ROOT = Path(__file__).parents[2]
CONSUMERS = tuple(name for name in replay.SERVICES if name != "files")
NOTE = "A rehearsal fixture, made from the tree by a patch; never deployed"

METHODS, PREPARSE, EVENTS = (
    f"libs/breakwater/chassis/{name}" for name in ("grpc_methods.py", "auth/preparse.py", "cloudevents.py")
)
READS = 'if key == "authorization":'
ALGORITHMS = '{"Ed25519", "EdDSA"}'
# version: (file, what is there, what stands there instead, who it breaks)
REHEARSAL = {
    "2.3.1": (METHODS, READS, READS, ()),
    "2.4.0": (
        METHODS,
        READS,
        'if key == "authorization" or (key == "x-jwt" and (value := f"Bearer {value}")):',
        (),
    ),
    "2.5.0": (PREPARSE, ALGORITHMS, '{"Ed25519"}', ()),
    "3.0.0": (METHODS, READS, 'if key == "x-jwt" and (value := f"Bearer {value}"):', ("gateway",)),
    "3.1.0": (PREPARSE, ALGORITHMS, '{"EdDSA"}', ("gateway",)),
    "3.2.0": (EVENTS, '        "ce-sequence": str(sequence),\n', "", ("gateway",)),
}

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """A tree with the releases as they are, and six of `files` made by really running patched trees."""
    root = tmp_path_factory.mktemp("rehearsed")
    for name in ("libs", "services", "proto", "contracts", "locks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/lock.yaml", root / "deploy/lock.yaml")
    for version, (path, old, new, _) in REHEARSAL.items():
        file = root / path
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))
        (root / "services/files/VERSION").write_text(f"{version}\n")
        release.write(root, "files", version, note=NOTE)
        file.write_text(text)
        matrix.record(root / "contracts", "files", version)
    return root


@pytest.fixture
def tree(rehearsed, tmp_path):
    """What the matrix is made from, to change."""
    for name in ("contracts", "deploy"):
        shutil.copytree(rehearsed / name, tmp_path / name)
    return tmp_path


def asked(root, version, service="files"):
    """What `breakwater can-deploy` answers."""
    return matrix.may_deploy(root / "contracts", root / "deploy/lock.yaml", "prod", service, version)


def test_what_is_looked_up_is_what_brute_force_finds(rehearsed):
    """Six rehearsal releases of files x every consumer, both ways; the look-up of one takes less than a second."""
    contracts = rehearsed / "contracts"
    compared = 0
    for version, (_, _, _, broken) in REHEARSAL.items():
        began_s = time.process_time()
        report = asked(rehearsed, version)
        assert time.process_time() - began_s < 1.0
        assert (report.exit_code() == 0) == (not broken), report.first_line()
        own = artifacts.find(contracts, "files", version)
        others = [artifacts.find(contracts, name, "0.1.0") for name in CONSUMERS]
        brute = [matrix.verify(provider, consumer) for provider, consumer in matrix.pairs(own, others)]
        assert [(each.name, each.findings) for each in report.checks] == [(each.name, each.findings) for each in brute]
        worst = {each.name.split(" for ")[1].split()[0] for each in brute if each.verdict() == "BREAKING"}
        assert worst == set(broken)
        compared += len(brute)
    assert compared == len(REHEARSAL) * len(CONSUMERS) * 2


def test_the_first_line_names_what_would_break(rehearsed):
    """Dimension, consumer, pin and cure."""
    line = asked(rehearsed, "3.0.0").first_line()
    assert line.startswith("NO: files 3.0.0 -> prod. BREAKING auth:")
    assert "gateway sends authorization: Bearer Ed25519; files 3.0.0 reads" in line


def test_what_was_never_verified_is_a_no(tree):
    """Neither a missing file of results nor one pair of it is passed over."""
    assert asked(tree, "2.3.1").exit_code() == 0
    results = tree / "contracts/verified/files/2.3.1.json"
    kept = json.loads(results.read_text())
    results.write_text(json.dumps(kept[1:]))
    report = asked(tree, "2.3.1")
    assert (report.verdict(), report.exit_code()) == ("UNVERIFIED", 1)
    results.unlink()
    assert (asked(tree, "2.3.1").verdict(), asked(tree, "2.3.1").exit_code()) == ("UNVERIFIED", 1)


def test_results_of_other_bytes_are_no_results(tree):
    """What was verified is named by its digest: under a changed one it was never verified."""
    results = tree / "contracts/verified/files/2.3.1.json"
    kept = json.loads(results.read_text())
    for entry in kept:
        for side in ("provider", "consumer"):
            if entry[side][0] == "files":
                entry[side][2] = "0" * 64
    results.write_text(json.dumps(kept))
    assert asked(tree, "2.3.1").verdict() == "UNVERIFIED"


@pytest.mark.parametrize(
    "content", ["", "{", "[{}]", '[{"provider": 7, "consumer": 8, "examined": 1, "findings": []}]']
)
def test_results_that_are_none_are_refused(tree, content):
    """A torn matrix says nothing, and is never read as a yes."""
    (tree / "contracts/verified/files/2.3.1.json").write_text(content)
    with pytest.raises(ArtifactError, match="not understood"):
        asked(tree, "2.3.1")


def test_an_empty_matrix_is_a_no(tree):
    """Results with nothing examined are not a pass."""
    (tree / "contracts/verified/files/2.3.1.json").write_text("[]")
    assert asked(tree, "2.3.1").exit_code() == 1


def test_a_release_that_is_not_here_is_refused(tree):
    """Nor is one that nobody made."""
    with pytest.raises(ArtifactError, match="is not here"):
        asked(tree, "9.9.9")


@pytest.mark.parametrize("service", replay.SERVICES)
def test_what_is_deployed_may_be_deployed(service):
    """The matrix under contracts/ holds every pair of what runs."""
    assert asked(ROOT, artifacts.released(ROOT / "contracts", service)[-1], service).exit_code() == 0
