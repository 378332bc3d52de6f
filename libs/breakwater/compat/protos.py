"""buf: lint, breaking (category FILE), and the images of releases. Its exit 100 means findings; any other a failed tool."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 30
FOUND = 100
"""buf's own exit code for "the rules are broken"; any other non-zero one is a failure of the tool."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One thing buf found. `rule` is its name, such as FIELD_NO_DELETE."""

    rule: str
    message: str
    place: str


def lint(protos: Path) -> list[Annotation]:
    """buf lint over the whole tree. Raises `RuntimeError` when buf fails."""
    return _findings(["lint", str(protos)])


def breaking(protos: Path, candidate: Path, against: Path) -> list[Annotation]:
    """buf breaking of one image against another, with the rules of the tree. Raises `RuntimeError` when buf fails."""
    return _findings(["breaking", str(candidate), "--against", str(against), "--config", str(protos / "buf.yaml")])


def build_image(protos: Path, service: str, image: Path) -> None:
    """Writes the buf image of `service`'s packages and what they import. Raises `RuntimeError` when buf fails."""
    arguments = ["build", str(protos), "-o", str(image)]
    for path in package_paths(protos, service):
        arguments += ["--path", str(path)]
    done = _run(arguments)
    if done.returncode != 0:
        raise RuntimeError(f"buf build failed: {done.stderr.strip()}")


def whole_image(protos: Path) -> bytes:
    """The image of every package. Raises `RuntimeError` when buf fails."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "whole.binpb"
        done = _run(["build", str(protos), "-o", str(image)])
        if done.returncode != 0:
            raise RuntimeError(f"buf build failed: {done.stderr.strip()}")
        return image.read_bytes()


def package_paths(protos: Path, service: str) -> list[Path]:
    """The proto directories a release of `service` answers for: its own, and the one every service serves."""
    return [path for path in (protos / "breakwater" / service, protos / "breakwater" / "edges") if path.is_dir()]


def _findings(arguments: list[str]) -> list[Annotation]:
    done = _run([*arguments, "--error-format=json"])
    if done.returncode == 0:
        return []
    if done.returncode != FOUND:
        raise RuntimeError(f"buf failed: {done.stderr.strip()[:500]}")
    found = []
    for line in done.stdout.splitlines():
        each = json.loads(line)
        place = f"{each.get('path', '')}:{each.get('start_line', 0)}"
        found.append(Annotation(each.get("type", ""), each.get("message", "").rstrip("."), place))
    if not found:
        raise RuntimeError("buf found something and named nothing")
    return found


def _run(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    buf = Path(sys.executable).with_name("buf")
    try:
        return subprocess.run([str(buf), *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"buf did not run: {type(error).__name__}") from error
