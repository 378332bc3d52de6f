"""Schemathesis over the running gateway: a guarded operation that answers without a credential is fatal (check 7).

Its own default only warns of missing authentication and exits 0; here the warning fails, and so does a run that tested
nothing.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from breakwater.compat.candidate import Candidate
from breakwater.compat.emits import caller_headers
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.compat.world import World

TIMEOUT_S = 120.0
SEED = 1
_CURE = "Ask for the credential that the document names, and take it."
_CONFIG = '[warnings]\nfail-on = ["missing_auth"]\n'


async def ignored_auth(world: World, candidate: Candidate) -> CheckResult:
    """Each operation of the candidate's document with its own examples and a generated request, without and with a token.

    Raises `RuntimeError` when Schemathesis itself fails.
    """
    token = dict(caller_headers(world))["authorization"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "schemathesis.toml").write_text(_CONFIG)
        done = await asyncio.to_thread(_run, candidate.http, token, place)
        if done.returncode not in {0, 1}:
            raise RuntimeError(f"schemathesis failed: {' '.join((done.stdout + done.stderr).split())[-500:]}")
        report = json.loads((place / "report.json").read_text())
    candidate.require_alive()
    found = [
        Finding(
            Verdict.LOOSENED, "http", "callers", f"{each['title']}: {', '.join(each['operations'])}", _CURE, public=True
        )
        for each in report["failures"]
    ]
    refused = report["warnings"]["missing_auth"]
    if refused:
        detail = f"a good credential is refused by {len(refused)} operations"
        found.append(Finding(Verdict.BREAKING, "http", "callers", detail, _CURE, public=True))
    if done.returncode and not found:
        raise RuntimeError(f"schemathesis failed: {str(report['errors'])[:500]}")
    return CheckResult("Schemathesis, ignored_auth", report["operations"]["tested"], tuple(found))


def _run(url: str, token: str, place: Path) -> "subprocess.CompletedProcess[str]":
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(place / "schemathesis.toml"),
        "run", f"{url}/openapi.json", "-H", f"Authorization: {token}", "--checks", "ignored_auth",
        "--phases", "examples,fuzzing", "--mode", "positive", "--max-examples", "1", "--seed", str(SEED),
        "--no-shrink", "--suppress-health-check", "all", "--report", "json",
        "--report-json-path", str(place / "report.json"),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=place)  # noqa: S603
