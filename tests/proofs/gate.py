"""The gate over a corpus of changes, over 50 runs without a network, and over every caller in eight ways of refusal."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import yaml

from breakwater.compat import candidate, events, peers, rehearsals, world
from breakwater.compat.checks import callers
from breakwater.compat.emits import PROCESSES_OF
from breakwater.compat.messages import Messages
from breakwater.compat.protos import whole_image
from breakwater.local.topology import PROCESSES
from tests.mutation import corpus
from tests.mutation.corpus import Outcome
from tests.mutation.mutant import ENVIRONMENT, Mutant, Source, base, planted
from tests.proofs.record import hash_of_code, read
from tests.proofs.register import ROOT, Effort, Findings, Progress, proof_of

CORPUS: Final = {"proto": 122, "auth": 104, "http": 42, "events": 44, "compatible": 105}
"""How many of each are tried."""
LEAST: Final = {"proto": 120, "auth": 100, "http": 40, "events": 40}
"""How many of each must be; 300 in all."""
COMPATIBLE_MIN: Final = 100
RECORDED_EACH: Final = 10
"""After so many mutants what is known by then is recorded."""
RUNS: Final = 50
RUN_S_MAX: Final = 60.0
OUTAGE_S_MAX: Final = 10.0
OUTAGE_TRIES: Final = 3
EQUIVALENT_SHARE_MAX: Final = 0.05
NAMED_SHARE_MIN: Final = 0.95
RUN_TIMEOUT_S: Final = 180.0


def prove(effort: Effort, progress: Progress) -> Findings:
    """Goes on where a part of the same seed, the same code and the same deployed releases stopped."""
    figures, earlier = _earlier_part(effort)
    figures["deployed"] = _pins()
    began_s, stopping = time.monotonic(), threading.Event()
    mutants = corpus.sampled(effort.seed, CORPUS)
    done = [each for each in earlier if each.mutant in {mutant.name for mutant in mutants}]
    waiting = [mutant for mutant in mutants if mutant.name not in {each.mutant for each in done}]

    def note(outcome: Outcome) -> None:
        done.append(outcome)
        if len(done) % RECORDED_EACH == 0:
            progress(_findings(figures, done, len(mutants)))
            print(f"  {len(done)} mutants, {time.monotonic() - began_s:.0f} s", flush=True)

    figures.setdefault("outage", _outage())
    if "callers" not in figures:
        figures["callers"] = asyncio.run(_callers())
    progress(_findings(figures, done, len(mutants)))
    until_s = began_s + effort.minutes * 60 if effort.minutes else float("inf")
    with ThreadPoolExecutor(1) as beside:
        # They wait for most of their time, as mutants do: side by side neither is slower for it.
        runs = None if "runs" in figures else beside.submit(_runs, stopping, until_s)
        try:
            corpus.run(waiting, effort.workers, note, until_s=until_s)
        except KeyboardInterrupt:
            print("  interrupted: recorded as a part", flush=True)
        finally:
            # Whatever ended the corpus early ends the runs as well.
            if len(done) < len(mutants):
                stopping.set()
            figures |= {"runs": runs.result()} if runs else {}
    return _findings(figures, done, len(mutants))


def _earlier_part(effort: Effort) -> tuple[dict[str, Any], list[Outcome]]:
    """The figures that a part has found already, and what it said of mutants."""
    proof = proof_of("gate")
    record = read(proof)
    if record is None or record["complete"] or (record["code"], record["seed"]) != (hash_of_code(proof), effort.seed):
        return {}, []
    figures = record["figures"]
    if figures.get("deployed") != _pins():
        return {}, []
    outcomes = [Outcome(**each) for each in figures["outcomes"]]
    print(f"  goes on after {len(outcomes)} mutants", flush=True)
    parts = {name: figures[name] for name in ("outage", "callers", "runs") if name in figures}
    if parts.get("runs", {}).get("runs", RUNS) < RUNS:
        del parts["runs"]
    return parts, outcomes


def _pins() -> dict[str, list[str]]:
    """What the corpus is made of and held against: the releases of each service in production."""
    lock = yaml.safe_load((ROOT / "deploy/lock.yaml").read_text(encoding="utf-8"))
    return {name: [each["version"] for each in pinned] for name, pinned in lock["environments"][ENVIRONMENT].items()}


def _findings(figures: dict[str, Any], outcomes: Sequence[Outcome], wanted: int) -> Findings:
    shares = _shares(outcomes)
    complete = len(outcomes) == wanted and figures.get("runs", {}).get("runs") == RUNS
    violations = [*_judged_parts(figures), *judged(outcomes)]
    if complete:
        violations += lacking(outcomes)
    return Findings(
        figures={
            **figures,
            "corpus": corpus.table(outcomes),
            **shares,
            "outcomes": [asdict(each) for each in sorted(outcomes, key=lambda each: each.mutant)],
        },
        violations=violations,
        complete=complete,
    )


def judged(outcomes: Sequence[Outcome]) -> list[str]:
    """Every way in which the corpus does not show what it should."""
    bad = [each for each in outcomes if not each.compatible]
    found = [f"not blocked: {each.mutant}" for each in bad if each.exit_code == 0 and not each.equivalent]
    found += [f"blocked: {each.mutant}: {each.line}" for each in outcomes if each.compatible and each.exit_code != 0]
    # A share says little of a few.
    if len(bad) >= sum(LEAST.values()):
        shares = _shares(outcomes)
        if shares["equivalent_share"] > EQUIVALENT_SHARE_MAX:
            found.append(f"{shares['equivalent_share']:.1%} are equivalent")
        if shares["named_share"] < NAMED_SHARE_MIN:
            found.append(f"only {shares['named_share']:.1%} of the blocked are named right")
    return found


def lacking(outcomes: Sequence[Outcome]) -> list[str]:
    """Where fewer were tried than the sentence says."""
    rows = corpus.table(outcomes)
    counts = {name: rows.get(name, {}).get("mutants", 0) for name in (*LEAST, "compatible")}
    found = [f"only {counts[name]} of {name}" for name, least in LEAST.items() if counts[name] < least]
    if counts["compatible"] < COMPATIBLE_MIN:
        found.append(f"only {counts['compatible']} compatible ones")
    nulls = {each.mutant for each in outcomes if "the null mutant" in each.mutant}
    if len(nulls) < len(PROCESSES_OF):
        found.append(f"only {len(nulls)} null mutants")
    return found


def _judged_parts(figures: dict[str, Any]) -> list[str]:
    """What the outage, the callers and the 50 runs do not show."""
    found = []
    for name, tried in figures.get("outage", {}).items():
        if tried["exit_code"] != tried["expected"]:
            found.append(f"{name}: exit {tried['exit_code']}, not {tried['expected']}: {tried['line']}")
        if tried["expected"] and tried["took_s"] > OUTAGE_S_MAX:
            found.append(f"{name}: blocked after {tried['took_s']:.1f} s, not within {OUTAGE_S_MAX:.0f}")
    found += figures.get("callers", {}).get("problems", [])
    runs = figures.get("runs", {"verdicts": {}})
    if any(not said.startswith("0 YES") for said in runs["verdicts"]) or len(runs["verdicts"]) > 1:
        found.append(f"{runs['runs']} runs said {runs['verdicts']}")
    if runs.get("longest_s", 0.0) > RUN_S_MAX:
        found.append(f"a run took {runs['longest_s']:.0f} s")
    return found


def _shares(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    bad = [each for each in outcomes if not each.compatible]
    blocked = [each for each in bad if each.exit_code != 0]
    return {
        "incompatible": len(bad),
        "compatible": len(outcomes) - len(bad),
        "equivalent_share": sum(each.equivalent for each in bad) / max(1, len(bad)),
        "named_share": sum(each.named for each in blocked) / max(1, len(blocked)),
        "named_wrong": sorted(each.mutant for each in blocked if not each.named),
        "equivalent": sorted(each.mutant for each in bad if each.equivalent),
    }


def _outage() -> dict[str, Any]:
    """The release of the outage, and its variant that accepts both, from a cold start of the gate."""
    figures = {}
    approval = {"service": "files", "credential": "in x-jwt", "approved_by": "security", "reason": "callers move"}
    changes = {
        "changed header": (rehearsals.OUTAGE, {}, 1),
        "accepts both": (rehearsals.BOTH, {"deploy/approvals.yaml": yaml.safe_dump({"approvals": [approval]})}, 0),
    }
    for name, (version, approved, expected) in changes.items():
        rehearsal = rehearsals.RELEASES[version]
        edits = Source.of(rehearsal.path).replaced(rehearsal.old, rehearsal.new) | approved
        mutant = Mutant(name, rehearsals.SERVICE, "auth", ("gateway",), edits, compatible=expected == 0)
        code, line, took_s = _cold(mutant)
        for _ in range(OUTAGE_TRIES - 1) if took_s > OUTAGE_S_MAX else ():
            # The machine may have been busy with something else: the quickest run is the gate's own time.
            took_s = min(took_s, _cold(mutant)[2])
        figures[name] = {"exit_code": code, "expected": expected, "took_s": round(took_s, 1), "line": line}
    return figures


def _cold(mutant: Mutant) -> tuple[int, str, float]:
    """The command itself over a tree with the mutant, as CI runs it."""
    with tempfile.TemporaryDirectory(prefix="breakwater-outage-") as folder:
        tree = planted(base(Path(folder) / "base"), Path(folder) / "tree", mutant)
        began_s = time.monotonic()
        done = _gate(["--first", "--root", str(tree)])
        return done.returncode, done.stdout.strip(), time.monotonic() - began_s


def without_network() -> list[str]:
    """The prefix that runs a command with loopback and nothing else; empty where the kernel forbids it."""
    who = ["--map-root-user"] if os.geteuid() != 0 else []
    prefix = ["unshare", "--net", *who, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False, timeout=10).returncode == 0
    except FileNotFoundError:
        allowed = False
    return prefix if allowed else []


def _gate(arguments: list[str], prefix: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    command = [*prefix, str(Path(sys.executable).with_name("breakwater")), "gate", "--candidate", "files"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=RUN_TIMEOUT_S
    )


def _runs(stopping: threading.Event, until_s: float) -> dict[str, Any]:
    """The same candidate again and again, cut off from the outside; until there is no more time."""
    prefix = without_network()
    verdicts: Counter[str] = Counter()
    longest_s = 0.0
    while verdicts.total() < RUNS and not stopping.is_set() and time.monotonic() < until_s:
        began_s = time.monotonic()
        done = _gate([], prefix)
        longest_s = max(longest_s, time.monotonic() - began_s)
        verdicts[f"{done.returncode} {done.stdout.strip()}"] += 1
    cut_off = "yes" if prefix else "no: this kernel lets nobody make a network of their own"
    said = dict(verdicts)
    return {"runs": verdicts.total(), "cut_off": cut_off, "longest_s": round(longest_s, 1), "verdicts": said}


async def _callers() -> dict[str, Any]:
    """Every caller in eight ways of refusal, each way against a fresh process: no circuit has learnt anything yet."""
    messages = Messages(whole_image(ROOT / "proto"))
    tried, problems = 0, []
    async with world.opened() as place:
        for process in sorted({caller for caller, _ in callers.CALLERS}):
            for way in callers.AUTH_FAILURES:
                await events.prepare_streams(place)
                others = [name for name in PROCESSES if name != process]
                settings = {"ENVIRONMENT": "production"}
                async with (
                    peers.standing_in(others) as stand_ins,
                    candidate.running(place, ROOT, process, stand_ins.addresses, settings=settings) as running,
                ):
                    # files claims exports by an event.
                    await events.consumed(place, process, 1 if process == "files" else 0)
                    check = await callers.rehearsed(place, running, stand_ins, messages, (way,))
                tried += check.examined
                problems += [finding.detail for finding in check.findings]
    return {"edges_and_ways": tried, "problems": problems, "ways": [way.name for way in callers.AUTH_FAILURES]}
