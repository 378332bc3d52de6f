"""The proto dimension: buf lint, buf breaking (category FILE) from each deployed image, buf build for a release."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from breakwater.compat.artifacts import Release
from breakwater.compat.verdict import CheckResult, Finding, Verdict

_TIMEOUT_S = 30
# buf's own exit code for "the rules are broken"; any other non-zero one is a failure of the tool.
_BUF_FOUND = 100


def lint(protos: Path) -> CheckResult:
    """buf lint over the whole tree."""
    files = sum(1 for _ in protos.rglob("*.proto"))
    return CheckResult("proto lint", files, _buf(["lint", str(protos)], subject="proto", verdict=Verdict.BREAKING))


def breaking(protos: Path, service: str, release: Release) -> CheckResult:
    """buf breaking of the candidate's image against one deployed release's: of the same packages, so that a deleted file shows.

    Raises `RuntimeError` when the candidate cannot be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.binpb"
        build_image(protos, service, candidate)
        arguments = ["breaking", str(candidate), "--against", str(release.image), "--config", str(protos / "buf.yaml")]
        findings = _buf(arguments, subject=f"{service} {release.version}", verdict=Verdict.BREAKING)
    return CheckResult(f"proto breaking from {release.version}", int(release.image.stat().st_size > 0), findings)


def build_image(protos: Path, service: str, image: Path) -> None:
    """Writes the buf image of `service`'s packages and what they import. Raises `RuntimeError` when buf fails."""
    arguments = ["build", str(protos), "-o", str(image)]
    for path in package_paths(protos, service):
        arguments += ["--path", str(path)]
    done = _run(arguments)
    if done.returncode != 0:
        raise RuntimeError(f"buf build failed: {done.stderr.strip()}")


def package_paths(protos: Path, service: str) -> list[Path]:
    """The proto directories a release of `service` answers for: its own, and the one every service serves."""
    return [path for path in (protos / "breakwater" / service, protos / "breakwater" / "edges") if path.is_dir()]


def _buf(arguments: list[str], *, subject: str, verdict: Verdict) -> tuple[Finding, ...]:
    try:
        done = _run([*arguments, "--error-format=json"])
    except (OSError, subprocess.TimeoutExpired) as error:
        return (Finding(Verdict.GATE_FAILED, "proto", subject, f"buf did not run: {type(error).__name__}"),)
    if done.returncode == 0:
        return ()
    if done.returncode != _BUF_FOUND:
        return (Finding(Verdict.GATE_FAILED, "proto", subject, f"buf failed: {done.stderr.strip()[:500]}"),)
    findings = []
    for line in done.stdout.splitlines():
        annotation = json.loads(line)
        place = f"{annotation.get('path', '')}:{annotation.get('start_line', 0)}"
        detail = f"{annotation.get('message', '').rstrip('.')} ({annotation.get('type', '')}, {place})"
        cure = "Keep the old field or RPC beside the new one until no deployed consumer uses it."
        findings.append(Finding(verdict, "proto", subject, detail, cure))
    return tuple(findings) or (Finding(Verdict.GATE_FAILED, "proto", subject, "buf found something and named nothing"),)


def _run(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    buf = Path(sys.executable).with_name("buf")
    return subprocess.run([str(buf), *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
