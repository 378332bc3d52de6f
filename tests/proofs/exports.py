"""Seeded kills of everything that has a part in exports, at every moment of one, on a platform of its own."""

import random
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.exportkills.rounds import FALLBACK_S_MAX, MOMENTS, VICTIMS, Requester, Round, fill
from tests.proofs.register import Effort, Findings, Progress
from tests.support.platform import Platform, running

ROWS: Final = 25_000
TIMES: Final = 4
"""Each victim at each moment."""


def prove(effort: Effort, progress: Progress) -> Findings:
    until_s = time.monotonic() + 60 * effort.minutes if effort.minutes else float("inf")
    rounds = [Round(victim, moment) for victim in VICTIMS for moment in MOMENTS for _ in range(TIMES)]
    random.Random(effort.seed).shuffle(rounds)
    wanted = rounds[: effort.schedules]
    counted: dict[str, int] = {}
    engines: dict[str, int] = {}
    fallbacks: list[float] = []
    figures: dict[str, Any] = {"rounds": counted, "files": engines, "rows": ROWS}
    findings = Findings(figures=figures, complete=False)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "state") as platform:
        fill(platform, ROWS)
        requester = Requester(platform)
        done = 0
        for done, round_ in enumerate(wanted, 1):
            if time.monotonic() > until_s:
                break
            name = f"{round_.victim} {round_.moment}"
            try:
                seen = requester.run(round_)
            except AssertionError as error:
                findings.violations.append(f"{name}: {error}")
                requester = Requester(platform)
                continue
            counted[name] = counted.get(name, 0) + 1
            for engine, count in seen.engines.items():
                engines[engine] = engines.get(engine, 0) + count
            findings.violations += [f"{name}: {problem}" for problem in seen.problems]
            if seen.fallback_s is not None:
                fallbacks.append(seen.fallback_s)
                if seen.fallback_s > FALLBACK_S_MAX:
                    findings.violations.append(f"{name}: a file after {seen.fallback_s} s")
            figures["first_file_after_a_kill_of_files_s"] = _spread(fallbacks)
            print(
                f"  {done}/{len(wanted)} {name}: {seen.engines} {seen.fallback_s or ''} {seen.problems or ''}",
                flush=True,
            )
            progress(findings)
        figures["planted"] = {name: _found(requester, spoil, sign) for name, (spoil, sign) in PLANTED.items()}
        findings.violations += [f"{name} is not found" for name, found in figures["planted"].items() if not found]
        findings.complete = done == len(rounds)
    return findings


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": ordered[len(ordered) // 2], "worst": ordered[-1]} if ordered else {}


def _found(requester: Requester, spoil: Callable[[Platform, str], None], sign: str) -> bool:
    return any(sign in problem for problem in requester.run(Round("files", "asked"), spoil=spoil).problems)


def _cut(platform: Platform, job: str) -> None:
    [path] = (platform.state / "objects/exports" / job).iterdir()
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))


def _double(platform: Platform, job: str) -> None:
    columns = "type, subject_id, sequence, payload, occurred_at, urgent, published_at"
    platform.sql(
        f"INSERT INTO gateway.outbox (id, {columns}) SELECT $1, {columns} FROM gateway.outbox"
        " WHERE type = 'breakwater.gateway.v1.ExportDelivered' AND subject_id IN"
        " (SELECT id::text FROM gateway.exports WHERE job_id = $2 AND engine = 'files')",
        uuid.uuid4(),
        uuid.UUID(job),
    )


def _lose(platform: Platform, job: str) -> None:
    platform.sql("DELETE FROM files.export_job WHERE id = $1", uuid.UUID(job))


def _leave(platform: Platform, job: str) -> None:
    (platform.state / "objects/exports" / job / "another.xlsx").write_bytes(b"half")


PLANTED: Final = {
    "a file that is not what was made": (_cut, "not what its hash says"),
    "a delivery told twice": (_double, "was delivered 2 times"),
    "a job that is gone": (_lose, "is lost"),
    "half a file left behind": (_leave, "another.xlsx"),
}
"""Done to one export of a round: the round must find it."""
