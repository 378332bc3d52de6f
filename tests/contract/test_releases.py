"""A release is a runnable thing: one wheel with its lock, by digest, and never another under the same version."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from breakwater.cli.main import main
from breakwater.compat import artifacts, interface, rehearsals, release, wheels, world
from breakwater.compat.candidate import running
from breakwater.compat.emits import PROCESSES_OF
from breakwater.compat.peers import standing_in
from breakwater.compat.release import Forced
from breakwater.local.topology import PROCESSES

ROOT = Path(__file__).parents[2]
SERVICES = ("leads", "notify", "files", "health", "gateway")

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(300)]


@pytest.fixture
def tree(tmp_path):
    """A tree to change, with all that a release is made from."""
    root = tmp_path / "tree"
    for name in ("libs", "services", "proto", "contracts", "locks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/lock.yaml", root / "deploy/lock.yaml")
    return root


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_tree_makes_the_same_bytes(tree, tmp_path):
    """Where it lies, when, and with which modes it was checked out changes nothing; a changed line does."""
    first = wheels.build(ROOT, "files", "0.1.0", tmp_path / "a")
    for path in (tree / "services/files").rglob("*.py"):
        path.chmod(0o600)
        path.touch()
    second = wheels.build(tree, "files", "0.1.0", tmp_path / "b")
    assert digest(first) == digest(second)
    with (tree / "services/files/api.py").open("a") as file:
        file.write("# another line\n")
    assert digest(wheels.build(tree, "files", "0.1.0", tmp_path / "c")) != digest(first)


@pytest.mark.parametrize("service", SERVICES)
def test_a_wheel_carries_one_service_and_what_it_needs(service, tmp_path):
    """No other service, no command, no gate; its dependencies are those of its lock, pinned."""
    wheel = wheels.build(ROOT, service, "0.1.0", tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.split("/")[1] for name in names if name.startswith("services/")} == {"__init__.py", service}
    rooms = {name.split("/")[1] for name in names if name.startswith("breakwater/")}
    assert {"chassis", "resilience"} <= rooms
    assert rooms.isdisjoint({"cli", "compat", "local"})
    required = re.findall(r"^Requires-Dist: (\S+)", about, re.MULTILINE)
    assert len(required) == len(wheels.pins(ROOT, service)) > 20
    assert all("==" in each for each in required)


@pytest.mark.parametrize("service", SERVICES)
def test_a_wheel_imports_with_nothing_beside_it(service, tmp_path):
    """Every module in it is imported by an interpreter that does not see the tree."""
    unpacked = wheels.unpack(wheels.build(ROOT, service, "0.1.0", tmp_path), tmp_path / "unpacked")
    names = sorted(
        str(path.relative_to(unpacked).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in unpacked.rglob("*.py")
        if path.name != "__main__.py"
    )
    program = "import importlib, sys, breakwater\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    program += "print(breakwater.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *names],
        env={"PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(unpacked))


async def test_the_released_wheels_serve(tmp_path):
    """Every process of what is deployed starts from its wheel under contracts/ alone, by its digest, and becomes ready."""
    async with world.opened() as place:
        for service in SERVICES:
            [found] = artifacts.deployed(ROOT / "contracts", ROOT / "deploy/lock.yaml", "prod", service)
            unpacked = wheels.unpack(found.wheel, tmp_path / service)
            for process in PROCESSES_OF[service]:
                async with (
                    standing_in(name for name in PROCESSES if name != process) as peers,
                    running(place, unpacked, process, peers.addresses, settings={"ENVIRONMENT": "production"}) as one,
                ):
                    one.require_alive()
                    assert one.log_tail()


def test_a_version_is_released_once_and_is_the_trees(tree):
    """Neither a second time, nor under a version the tree does not name, nor without an exact one."""
    with pytest.raises(artifacts.ArtifactError, match="released before"):
        release.write(tree, "files", artifacts.released(tree / "contracts", "files")[-1])
    with pytest.raises(artifacts.ArtifactError, match="VERSION says"):
        release.write(tree, "files", "9.9.9")
    for version in ("latest", ">=1", "1.0", "v1.0.0", "1.0.0-rc1", "../1.0.0"):
        with pytest.raises(artifacts.ArtifactError, match="is no version"):
            release.write(tree, "files", version)
        with pytest.raises(artifacts.ArtifactError, match="is no version"):
            release.record(tree, "files", version, "prod")


def asked_for_versions(tree):
    """`breakwater versions` of files in a tree: its exit code and what it prints."""
    done = CliRunner().invoke(main, ["versions", "--service", "files", "--root", str(tree)])
    return done.exit_code, done.output


def test_a_changed_interface_needs_a_new_version(tree):
    """As released it passes; a new field and a header that is gone are refused by name until the version is new as well."""
    (tree / "services/files/VERSION").write_text("8.0.0\n")
    release.write(tree, "files", "8.0.0")
    assert asked_for_versions(tree) == (0, "files 8.0.0: as it was released, or new\n")
    proto = tree / "proto/breakwater/files/v1/files.proto"
    proto.write_text(proto.read_text().replace("string sha256 = 6;", "string sha256 = 6;\n  string note = 60;", 1))
    with rehearsals.changed(tree, "3.2.0"):
        (tree / "services/files/VERSION").write_text("8.0.0\n")
        code, said = asked_for_versions(tree)
    assert (code, said.splitlines()[0]) == (1, "files 8.0.0 was released with another interface:")
    assert "image.binpb: file.breakwater/files/v1/files.proto.messageType.ExportJob.field.note is new\n" in said
    assert "publishes.breakwater.files.v1.ExportCompleted.headers.ce-sequence is gone" in said
    assert "services/files/VERSION" in said
    (tree / "services/files/VERSION").write_text("9.0.0\n")
    assert asked_for_versions(tree) == (0, "files 9.0.0: as it was released, or new\n")


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("auth.yaml", "lifetime_s_max: 3600", "lifetime_s_max: 60", "lifetime_s_max is 60, was 3600"),
        ("auth.yaml", "- jwt\n", "", "typ.jwt is gone"),
        ("emits.json", '"filter.stage"', '"filter.owner_id"', "StreamDataset.filter.stage is gone"),
        ("vectors.jsonl", '"label": "accept"', '"label": "reject"', "grpc emitted is reject, was accept"),
    ],
)
def test_a_difference_is_told_by_its_place(tree, monkeypatch, name, old, new, said):
    """A profile, a recording and the label of a vector: what is new, gone or something else, and where."""
    version = artifacts.released(tree / "contracts", "files")[-1]
    (tree / "services/files/VERSION").write_text(f"{version}\n")

    def described(root, service, directory):
        for path in artifacts.find(root / "contracts", service, version).directory.iterdir():
            shutil.copy(path, directory)
        text = (directory / name).read_text()
        assert old in text
        (directory / name).write_text(text.replace(old, new, 1))

    monkeypatch.setattr(interface, "describe", described)
    code, told = asked_for_versions(tree)
    assert (code, f"  {name}: " in told, said in told) == (1, True, True), told


def test_a_failed_release_leaves_nothing(tree):
    """Half a release is never seen: the next one may be made under the same version."""
    (tree / "services/files/VERSION").write_text("9.0.0\n")
    before = artifacts.released(tree / "contracts", "files")
    (tree / "locks/files.txt").write_text("")
    with pytest.raises(artifacts.ArtifactError, match="pins nothing"):
        release.write(tree, "files", "9.0.0")
    assert artifacts.released(tree / "contracts", "files") == before
    assert len(list((tree / "contracts/files").iterdir())) == len(before)


@pytest.mark.parametrize("name", ["lock.txt", "breakwater_files-0.1.0-py3-none-any.whl"])
@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_a_release_without_its_wheel_or_lock_is_refused(tree, name, fault):
    """What cannot be run, or is not what was released, is no release."""
    path = tree / "contracts/files/0.1.0" / name
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(artifacts.ArtifactError):
        artifacts.find(tree / "contracts", "files", "0.1.0")


def test_recording_a_deployment_keeps_what_else_runs(tree):
    """One line of the lock changes, with version, digest and why it was forced."""
    before = yaml.safe_load((tree / "deploy/lock.yaml").read_text())["environments"]["prod"]
    release.record(tree, "files", before["files"][0]["version"], "staging", forced=Forced("ada", "drill"))
    after = yaml.safe_load((tree / "deploy/lock.yaml").read_text())["environments"]
    assert after["prod"] == before
    assert after["staging"] == {"files": [before["files"][0] | {"forced": {"by": "ada", "reason": "drill"}}]}


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_a_wheel_that_is_none_is_not_unpacked(tmp_path, content):
    """A torn file leaves no folder behind."""
    wheel = tmp_path / "torn.whl"
    wheel.write_bytes(content)
    with pytest.raises(wheels.WheelError):
        wheels.unpack(wheel, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()
