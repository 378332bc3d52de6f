"""Provider versions x consumer versions: looked up as brute force finds it, and a NO for what was never verified."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from breakwater.compat import artifacts, matrix, rehearsals, replay
from breakwater.compat.artifacts import ArtifactError

ROOT = Path(__file__).parents[2]
CONSUMERS = tuple(name for name in replay.SERVICES if name != "files")

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """A tree with the releases as they are, and six of `files` made by really running patched trees."""
    root = rehearsals.copied(ROOT, tmp_path_factory.mktemp("rehearsed") / "tree")
    for version in rehearsals.RELEASES:
        rehearsals.write(root, version)
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


def pin_of(root, service):
    """The version that runs."""
    return artifacts.deployed(root / "contracts", root / "deploy/lock.yaml", "prod", service)[0].version


def told(checks):
    """What was found of each pair; the cure of a look-up names what runs besides."""
    return [(check.name, [replace(each, cure="") for each in check.findings]) for check in checks]


def test_what_is_looked_up_is_what_brute_force_finds(rehearsed):
    """Six rehearsal releases of files x every consumer, both ways; the look-up of one takes less than a second."""
    contracts = rehearsed / "contracts"
    compared = 0
    for version, rehearsal in rehearsals.RELEASES.items():
        began_s = time.process_time()
        report = asked(rehearsed, version)
        assert time.process_time() - began_s < 1.0
        assert (report.exit_code() == 0) == (not rehearsal.breaks), report.first_line()
        own = artifacts.find(contracts, "files", version)
        lock = rehearsed / "deploy/lock.yaml"
        others = [each for name in CONSUMERS for each in artifacts.deployed(contracts, lock, "prod", name)]
        brute = [matrix.verify(provider, consumer) for provider, consumer in matrix.pairs(own, others)]
        assert told(report.checks) == told(brute)
        worst = {each.name.split(" for ")[1].split()[0] for each in brute if each.verdict() == "BREAKING"}
        assert worst == set(rehearsal.breaks)
        compared += len(brute)
    assert compared == len(rehearsals.RELEASES) * len(CONSUMERS) * 2


def test_the_first_line_names_what_would_break(rehearsed):
    """Dimension, consumer, pin and cure."""
    assert asked(rehearsed, rehearsals.OUTAGE).first_line() == (
        f"NO: files 3.0.0 -> prod. BREAKING auth: gateway {pin_of(rehearsed, 'gateway')}: sends authorization: Bearer Ed25519;"
        f" files 3.0.0 reads x-jwt. Have files accept both meanwhile, or stay on {pin_of(rehearsed, 'files')}."
    )


def test_what_was_never_verified_is_a_no(tree):
    """Neither a missing file of results nor one pair of it is passed over."""
    assert asked(tree, "2.3.1").exit_code() == 0
    results = tree / "contracts/verified/files/2.3.1.json"
    kept = json.loads(results.read_text())
    gateway = ["gateway", pin_of(tree, "gateway")]
    results.write_text(json.dumps([each for each in kept if each["consumer"][:2] != gateway]))
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
