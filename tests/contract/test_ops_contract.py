"""The HTTP interface of the ops process: frozen with each release, and a change that breaks who leans on it is stopped."""

import shutil
from pathlib import Path

import pytest
import yaml

from breakwater.compat import artifacts, candidate, events, gate, interface, peers
from breakwater.local.topology import PROCESSES

ROOT = Path(__file__).parents[2]
OPS = "services/gateway/ops/http"

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def deployed():
    """The gateway's releases that run."""
    return artifacts.deployed(ROOT / "contracts", ROOT / "deploy/lock.yaml", "prod", "gateway")


async def fronts(place, tree, releases):
    """What the gate finds of the ops process of a tree, over HTTP."""
    await events.prepare_streams(place)
    async with (
        peers.standing_in(name for name in PROCESSES if name != "ops") as neighbours,
        candidate.running(place, tree, "ops", neighbours.addresses, settings={"ENVIRONMENT": "production"}) as ops,
    ):
        return [check async for check in gate.front(place, ROOT, ops, releases)]


def test_every_deployed_release_of_the_gateway_has_the_document_of_ops(deployed):
    """The gate refuses a release without it: nothing would be held against a candidate."""
    assert "openapi-ops.json" in interface.files_of("gateway")
    assert [release.version for release in deployed if not (release.directory / "openapi-ops.json").is_file()] == []


async def test_the_unchanged_ops_process_keeps_to_its_document(place, deployed):
    """Every operation, asked as nobody, as a forger and in each role, answers as its document says."""
    found = await fronts(place, ROOT, deployed)
    assert [finding.detail for check in found for finding in check.findings] == []
    assert [check.name.split()[0] for check in found] == ["OpenAPI,", "ops", "pacts"]
    assert all(check.examined >= 5 for check in found)


CHANGES = {
    "a timeline that everybody reads": (
        f"{OPS}/access.py", '("GET", "/v1/timeline"): _VIEW', '("GET", "/v1/timeline"): _OPEN', "LOOSENED",
        "GET /v1/timeline asks for no credential any more",
    ),
    "overrides that managers lay": (
        f"{OPS}/access.py", "OPERATORS = frozenset({", "OPERATORS = frozenset({Role.MANAGER, ", "LOOSENED", "the role manager",
    ),
    "incidents that on-call cannot take": (
        f"{OPS}/access.py", '/ack"): _OPERATE', '/ack"): Access(frozenset({Role.ADMIN}), priority=Priority.OPS)', "BREAKING",
        "the role oncall",
    ),
    "an override without its end": (
        f"{OPS}/views.py", "    expires_at: str | None\n", "    ends_at: str | None\n", "BREAKING", "override.expires_at",
    ),
    "a reason that is not taken": (f"{OPS}/api.py", "    ttl_s: float = Field(gt=0)", "    ttl: float", "BREAKING", "ttl"),
    "a route by another name": (
        f"{OPS}/incidents.py", '"GET", "/v1/incidents"', '"GET", "/v1/outages"', "BREAKING", "GET /v1/incidents",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
async def found(place, deployed, tmp_path_factory):
    """What is found of a tree with all of the changes: one run shows what six would."""
    root = tmp_path_factory.mktemp("ops")
    for name in ("libs", "services"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    moved = (f"{OPS}/access.py", '("GET", "/v1/incidents")', '("GET", "/v1/outages")')
    for path, old, new in (moved, *(change[:3] for change in CHANGES.values())):
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))
    return [finding for check in await fronts(place, root, deployed) for finding in check.findings]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_breaks_who_leans_on_ops_is_found(found, change):
    """Roles, routes and fields: each planted change is found with its verdict and its place."""
    *_, verdict, said = CHANGES[change]
    assert any(finding.verdict == verdict and said in finding.detail for finding in found), found


def test_a_release_without_the_document_of_ops_blocks(tmp_path, deployed):
    """Fail closed: a lock that names such a release stops the gate."""
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    directory = tmp_path / "contracts/gateway" / deployed[0].version
    (directory / "openapi-ops.json").unlink()
    lock = yaml.safe_load((ROOT / "deploy/lock.yaml").read_text())
    lock["environments"]["prod"]["gateway"][0]["digest"] = f"sha256:{artifacts.write_sums(directory)}"
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/lock.yaml").write_text(yaml.safe_dump(lock))
    report = gate.run(tmp_path, "gateway", "prod")
    assert report.exit_code() != 0
    assert "without openapi-ops.json" in report.first_line()
