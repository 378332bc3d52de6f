"""Schemathesis with its default checks and phases over a running gateway."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 1800.0
"""A minute on a machine of its own, beside others many: a run given up ends the whole proof."""
SEED = 1
_NO_FAILURES, _FAILURES = 0, 1


def failures(url: str, authorization: str, place: Path) -> set[str]:
    """What a run by the document that the gateway shows holds against it: a failure and an operation each.

    Raises `RuntimeError` when Schemathesis fails, or tests nothing.
    """
    report = place / "schemathesis.json"
    report.unlink(missing_ok=True)
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--seed", str(SEED),
        # Without it the tool makes up deadlines of microseconds, and every answer is a 503 as asked for.
        "-H", f"Authorization: {authorization}", "-H", "X-Request-Timeout: 5",
        "--report", "json", "--report-json-path", str(report),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=place)
    if done.returncode not in {_NO_FAILURES, _FAILURES} or not report.is_file():
        raise RuntimeError(f"schemathesis failed: {' '.join((done.stdout + done.stderr).split())[-500:]}")
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    if not found["operations"]["tested"]:
        raise RuntimeError("schemathesis tested nothing")
    return {f"{each['title']}: {operation}" for each in found["failures"] for operation in each["operations"]}
