"""The gate over a corpus of changes, over 50 runs without a network, and over every caller in eight ways of refusal."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from breakwater.compat import candidate, events, peers, world
from breakwater.compat.checks import callers
from breakwater.compat.messages import Messages
from breakwater.compat.protos import whole_image
from breakwater.local.topology import PROCESSES
from tests.mutation import corpus
from tests.mutation.corpus import Outcome
from tests.mutation.mutant import Mutant, base, planted
from tests.proofs.register import ROOT, Effort, Findings, Progress

CORPUS: Final = {"proto": 122, "auth": 104, "http": 42, "events": 44, "compatible": 105}
"""How many of each are asked for: 300 incompatible ones and 100 compatible at the least."""
RUNS: Final = 50
RUN_S_MAX: Final = 60.0
OUTAGE_S_MAX: Final = 10.0
OUTAGE_TRIES: Final = 3
EQUIVALENT_SHARE_MAX: Final = 0.05
NAMED_SHARE_MIN: Final = 0.95
RUN_TIMEOUT_S: Final = 180.0


def prove(effort: Effort, progress: Progress) -> Findings:
    findings, began_s = Findings(complete=False), time.monotonic()
    findings.figures["outage"] = _outage(findings)
    findings.figures["callers"] = asyncio.run(_callers(findings))
    progress(findings)
    done: list[Outcome] = []

    def note(outcome: Outcome) -> None:
        done.append(outcome)
        if len(done) % 20 == 0:
            findings.figures["corpus"] = corpus.table(done)
            progress(findings)
            print(f"  {len(done)} mutants, {time.monotonic() - began_s:.0f} s", flush=True)

    mutants = corpus.sampled(effort.seed, CORPUS)
    with ThreadPoolExecutor(1) as beside:
        # They wait for most of their time, as mutants do: side by side neither is slower for it.
        runs = beside.submit(_runs, findings)
        until_s = began_s + effort.minutes * 60 if effort.minutes else float("inf")
        outcomes = corpus.run(mutants, effort.workers, note, until_s=until_s)
        findings.figures["runs"] = runs.result()
    findings.figures["corpus"] = corpus.table(outcomes)
    findings.figures |= _shares(outcomes)
    findings.figures["verdicts"] = {
        each.mutant: each.line for each in sorted(outcomes, key=lambda each: each.mutant) if not each.compatible
    }
    findings.violations += judged(outcomes)
    findings.complete = len(outcomes) == len(mutants)
    return findings


def judged(outcomes: Sequence[Outcome]) -> list[str]:
    """Every way in which the corpus does not show what it should."""
    bad = [each for each in outcomes if not each.compatible]
    found = [f"not blocked: {each.mutant}" for each in bad if each.exit_code == 0 and not each.equivalent]
    found += [f"blocked: {each.mutant}: {each.line}" for each in outcomes if each.compatible and each.exit_code != 0]
    shares = _shares(outcomes)
    if shares["equivalent_share"] > EQUIVALENT_SHARE_MAX:
        found.append(f"{shares['equivalent_share']:.1%} are equivalent")
    if shares["named_share"] < NAMED_SHARE_MIN:
        found.append(f"only {shares['named_share']:.1%} of the blocked are named right")
    return found


def _shares(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    bad = [each for each in outcomes if not each.compatible]
    blocked = [each for each in bad if each.exit_code != 0]
    return {
        "incompatible": len(bad),
        "compatible": len(outcomes) - len(bad),
        "equivalent_share": sum(each.equivalent for each in bad) / max(1, len(bad)),
        "named_share": sum(each.named for each in blocked) / max(1, len(blocked)),
        "named_wrong": sorted(f"{each.mutant}: {each.line}" for each in blocked if not each.named),
        "equivalent": sorted(each.mutant for each in bad if each.equivalent),
    }


def _outage(findings: Findings) -> dict[str, Any]:
    """The release of the outage, and its variant that accepts both, from a cold start of the gate."""
    figures = {}
    path = "libs/breakwater/chassis/grpc_methods.py"
    text = (ROOT / path).read_text(encoding="utf-8")
    old = 'if key == "authorization":'
    changes = {
        "changed header": ('if key == "x-jwt" and (value := f"Bearer {value}"):', "", 1),
        "accepts both": (
            'if key == "authorization" or (key == "x-jwt" and (value := f"Bearer {value}")):',
            "approvals:\n- {service: files, credential: in x-jwt, approved_by: security, reason: callers move}\n",
            0,
        ),
    }
    for name, (new, approvals, expected) in changes.items():
        edits = {path: text.replace(old, new, 1)} | ({"deploy/approvals.yaml": approvals} if approvals else {})
        mutant = Mutant(name, "files", "auth", ("gateway",), edits, compatible=expected == 0)
        code, line, took_s = _cold(mutant)
        for _ in range(OUTAGE_TRIES - 1) if took_s > OUTAGE_S_MAX else ():
            # The machine may have been busy with something else: the quickest run is the gate's own time.
            took_s = min(took_s, _cold(mutant)[2])
        figures[name] = {"exit_code": code, "took_s": round(took_s, 1), "line": line}
        if code != expected:
            findings.violations.append(f"{name}: exit {code}, not {expected}: {line}")
        if expected and took_s > OUTAGE_S_MAX:
            findings.violations.append(f"{name}: blocked after {took_s:.1f} s, not within {OUTAGE_S_MAX:.0f}")
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


def _runs(findings: Findings) -> dict[str, Any]:
    """The same candidate again and again, cut off from the outside."""
    prefix = without_network()
    verdicts: dict[str, int] = {}
    longest_s = 0.0
    for _ in range(RUNS):
        began_s = time.monotonic()
        done = _gate([], prefix)
        longest_s = max(longest_s, time.monotonic() - began_s)
        said = f"{done.returncode} {done.stdout.strip()}"
        verdicts[said] = verdicts.get(said, 0) + 1
    if len(verdicts) != 1 or not next(iter(verdicts)).startswith("0 YES"):
        findings.violations.append(f"{RUNS} runs said {verdicts}")
    if longest_s > RUN_S_MAX:
        findings.violations.append(f"a run took {longest_s:.0f} s")
    cut_off = "yes" if prefix else "no: this kernel lets nobody make a network of their own"
    return {"runs": RUNS, "cut_off": cut_off, "longest_s": round(longest_s, 1), "verdicts": verdicts}


async def _callers(findings: Findings) -> dict[str, Any]:
    """Every caller in eight ways of refusal, each way against a fresh process: no circuit has learnt anything yet."""
    messages = Messages(whole_image(ROOT / "proto"))
    tried = 0
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
                findings.violations += [finding.detail for finding in check.findings]
    return {"edges_and_ways": tried, "ways": [way.name for way in callers.AUTH_FAILURES]}
