"""What a proof leaves behind: `proof/NAME.json`, with the hash of the code it covers."""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.proofs.register import ROOT, Effort, Findings, Proof

_CODE: Final = frozenset({".py", ".yaml", ".proto", ".sql", ".json", ".toml"})


def covered_files(proof: Proof, root: Path = ROOT) -> Iterator[Path]:
    """Every file of code below what the proof covers, in order."""
    for name in proof.covers:
        path = root / name
        if path.is_file():
            yield path
            continue
        if not path.is_dir():
            raise FileNotFoundError(f"proof {proof.name} covers {name}, which is not there")
        yield from sorted(each for each in path.rglob("*") if each.is_file() and each.suffix in _CODE)


def hash_of_code(proof: Proof, root: Path = ROOT) -> str:
    """SHA-256 over names and contents of the covered files."""
    digest = hashlib.sha256()
    for path in covered_files(proof, root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def write(
    proof: Proof,
    effort: Effort,
    findings: Findings,
    *,
    code: str,
    started: datetime,
    took_s: float,
    root: Path = ROOT,
) -> Path:
    """Writes the record; `code` is the hash taken before the proof began."""
    record = {
        "proof": proof.name,
        "says": proof.says,
        "holds": findings.complete and not findings.violations,
        "complete": findings.complete,
        "violations": findings.violations,
        "figures": findings.figures,
        "seed": effort.seed,
        "asked": {
            "minutes": effort.minutes,
            "schedules": effort.schedules,
            "sample": effort.sample,
            "workers": effort.workers,
        },
        "started_at": started.isoformat(timespec="seconds"),
        "took_s": round(took_s, 1),
        "code": code,
        "covers": list(proof.covers),
    }
    path = root / "proof" / f"{proof.name}.json"
    path.parent.mkdir(exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)
    return path


def read(proof: Proof, root: Path = ROOT) -> dict[str, Any] | None:
    """The record, or None where the proof was never run."""
    try:
        record: dict[str, Any] = json.loads((root / "proof" / f"{proof.name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def state_of(proof: Proof, root: Path = ROOT) -> str:
    """`holds`, or why not: `missing`, `stale` (the code has changed since), `broken`, `part` (less than asked for)."""
    record = read(proof, root)
    if record is None:
        return "missing"
    if record["violations"]:
        return "broken"
    if record["code"] != hash_of_code(proof, root):
        return "stale"
    return "holds" if record["complete"] else "part"
