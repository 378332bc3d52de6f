"""The pinned consumers' pacts, verified against a running process, no header overridden (check 7)."""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from breakwater.compat.candidate import Candidate
from breakwater.compat.consumers.recorded import CREDENTIAL, ConsumerPact, of_provider
from breakwater.compat.emits import caller_headers
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.compat.world import World

TIMEOUT_S = 60.0
DIMENSION = "http"
VERIFIER = "breakwater.compat.consumers.verifier"


async def kept(world: World, root: Path, candidate: Candidate) -> CheckResult:
    """Every interaction of every pinned pact with the candidate's process. None is UNVERIFIED: nothing was looked at.

    Raises `ArtifactError` for pacts that are missing or changed, `RuntimeError` when Pact itself fails.
    """
    token = dict(caller_headers(world))["authorization"].partition(" ")[2]
    pacts = of_provider(root, candidate.process)
    findings = []
    for pact in pacts:
        broken = await asyncio.to_thread(_verified, candidate, pact, token)
        candidate.require_alive()
        cure = f"Keep the old beside the new until {pact.consumer} adapts, and pin its next pact."
        findings += [
            Finding(Verdict.BREAKING, DIMENSION, f"{pact.consumer} {pact.version}", each, cure, public=True)
            for each in broken
        ]
    return CheckResult(f"pacts with {candidate.process}", sum(each.interactions for each in pacts), tuple(findings))


def _verified(candidate: Candidate, pact: ConsumerPact, token: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        file, result = Path(folder) / "pact.json", Path(folder) / "result.json"
        file.write_text(pact.text.replace(CREDENTIAL, token), encoding="utf-8")
        command = [
            sys.executable, "-m", VERIFIER,
            candidate.process, candidate.http, str(file), str(result),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
        if done.returncode != 0 or not result.is_file():
            raise RuntimeError(f"Pact failed: {' '.join(done.stderr.split())[-500:]}")
        return [str(each) for each in json.loads(result.read_text(encoding="utf-8"))]
