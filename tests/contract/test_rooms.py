"""The import rules hold, name every room, and break when somebody breaks them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
SERVICES = ("leads", "notify", "files", "health", "gateway")

# (file that sins, the import it must not have, the contract that must notice)
PLANTED = [
    ("services/notify/delivery/domain.py", "import services.leads", "No service imports another"),
    ("services/leads/routing/domain.py", "import asyncpg", "Domain and use cases know no transport"),
    (
        "services/leads/routing/domain.py",
        "import breakwater.chassis.database",
        "Domain and use cases know no transport",
    ),
    ("services/notify/delivery/usecases.py", "import breakwater.leads.v1.leads_pb2", "Domain and use cases know no"),
    ("services/notify/delivery/domain.py", "import services.notify.delivery.usecases", "imports point inward"),
    ("services/notify/delivery/usecases.py", "import services.notify.delivery.store", "imports point inward"),
    ("services/notify/api/notifications.py", "import services.notify.delivery.store", "The api never touches a store"),
    ("services/notify/settings.py", "import services.notify.main", "Nothing imports a composition root"),
    ("libs/breakwater/resilience/__init__.py", "import grpc", "Resilience knows no transport"),
    ("libs/breakwater/chassis/clock.py", "import breakwater.cli", "the chassis on resilience"),
    ("libs/breakwater/sheets/__init__.py", "import breakwater.chassis.errors", "Commands stand on the chassis"),
    ("libs/breakwater/compat/verdict.py", "import services.files", "No library imports a service"),
]


def lint(root: Path) -> "subprocess.CompletedProcess[str]":
    """Runs the contracts over the tree below `root`."""
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": f"{root / 'libs'}:{root}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the code to sin in."""
    root = tmp_path_factory.mktemp("rooms")
    for name in ("libs", "services"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", root)
    return root


def test_the_rules_hold():
    """No file of the project breaks a contract."""
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("file", "line", "contract"), PLANTED)
def test_a_planted_violation_is_noticed(copy, file, line, contract):
    """One forbidden import breaks the contract that forbids it."""
    path = copy / file
    before = path.read_text()
    path.write_text(f"{before}\n{line}\n")
    try:
        done = lint(copy)
    finally:
        path.write_text(before)
    broken = [row for row in done.stdout.splitlines() if row.rstrip().endswith("BROKEN")]
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(contract in row for row in broken), done.stdout


def test_every_capability_is_named_in_the_contracts():
    """A capability is a folder with a domain; each is listed where its layers are held."""
    text = (ROOT / ".importlinter").read_text()
    rooms = {path.parent.relative_to(ROOT) for path in (ROOT / "services").rglob("domain.py")}
    assert len(rooms) >= len(SERVICES)
    missing = [str(room) for room in sorted(rooms) if str(room).replace("/", ".") + "\n" not in text]
    assert missing == []
