"""The lock files pin everything by hash and name no place to fetch from."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Installed into an environment of its own, so its versions are nobody else's.
APART = {"tryton"}
GROUPS = {name for name in PROJECT["dependency-groups"] if name != "chassis"}


def requirements(group: str) -> list[str]:
    """The names a group asks for directly, without the groups it includes."""
    wanted = [entry for entry in PROJECT["dependency-groups"][group] if isinstance(entry, str)]
    return [re.split(r"[\[;<>=! ]", entry)[0].lower() for entry in wanted]


def pins(group: str) -> dict[str, str]:
    """Name and version of every line of a lock file."""
    text = (ROOT / "locks" / f"{group}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^ \\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_group_is_locked_with_hashes_and_no_address(group):
    """Each pinned line carries a hash, and no line an index, a link or an address."""
    text = (ROOT / "locks" / f"{group}.txt").read_text()
    entries = re.split(
        r"\n(?=[a-z0-9])", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    )
    entries = [entry for entry in entries if "==" in entry]
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.search(r"https?://|--index-url|--find-links|file:", text) is None


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_group_is_locked_as_the_project_asks(group):
    """What pyproject.toml asks for is in the lock, at the version every other lock has."""
    locked, everything = pins(group), pins(group if group in APART else "dev")
    assert [name for name in requirements(group) if name not in locked] == []
    assert [name for name, version in locked.items() if everything.get(name) != version] == []


def test_the_run_time_set_up_carries_no_test_tool():
    """What is not needed at run time is not installed at run time."""
    assert pins("run").keys() & {"pytest", "hypothesis", "playwright", "mypy", "ruff", "grpcio-tools", "uv"} == set()
