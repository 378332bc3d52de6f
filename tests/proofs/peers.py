"""The gate's corpus shown to buf, Pact and Schemathesis, as far as each can express it; writes docs/peers.md."""

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from breakwater.compat.gate import SERVICES
from tests.mutation import corpus
from tests.mutation.mutant import Mutant
from tests.peers import runs
from tests.peers.runs import BUF, PACT, PACT_OVERRIDE, PEERS, SCHEMATHESIS, SCHEMATHESIS_NEW, expressible
from tests.proofs import record
from tests.proofs.gate import CORPUS
from tests.proofs.register import ROOT, Effort, Findings, Progress, proof_of

PAGE: Final = ROOT / "docs" / "peers.md"
OURS: Final = "breakwater gate"
COMPATIBLE: Final = "compatible"
FUZZED_MAX: Final = 8
"""Of a row, and a quarter of a sample: a run of Schemathesis takes a minute."""
GATED_MAX: Final = 12
"""Of a row, and half of a sample, where the gate's own proof says nothing of them: a run of it takes ten seconds and more."""
ROWS: Final[Mapping[str, str]] = {
    "proto": "protos: fields, RPCs, enum values",
    "auth": "credentials between services (gRPC metadata)",
    "http": "the gateway's HTTP: routes, roles, requests, answers",
    "events": "events on NATS: headers, subjects, bodies",
    runs.HEADER_MOVED: "beside the corpus: the gateway reads its token from another header",
    COMPATIBLE: "compatible changes, the null mutants among them",
}
Judged = dict[str, dict[str, str]]
"""By mutant and peer: what it named, or nothing."""


def prove(effort: Effort, progress: Progress) -> Findings:
    until_s = time.monotonic() + effort.minutes * 60 if effort.minutes else float("inf")
    mutants = chosen(effort)
    by_name = {mutant.name: mutant for mutant in mutants}
    findings = Findings(complete=False)
    fuzzed_max, gated_max = FUZZED_MAX, GATED_MAX
    if effort.sample is not None:
        fuzzed_max, gated_max = min(FUZZED_MAX, effort.sample // 4), min(GATED_MAX, max(1, effort.sample // 2))
    said = runs.run(mutants, frozenset(fuzzed(mutants, fuzzed_max)), effort.workers, print, until_s=until_s)
    judged: Judged = {name: {} for name in by_name}
    for each in said:
        judged[each.mutant][each.peer] = each.alarm
    record_figures(findings, mutants, judged, effort)
    progress(findings)
    gated(judged, mutants, gated_max, effort.workers, until_s)
    record_figures(findings, mutants, judged, effort)
    findings.violations = [
        f"{name}: {peer} catches it and the gate does not: {alarm}"
        for name, words in judged.items()
        if not by_name[name].compatible and words.get(OURS) == ""
        for peer, alarm in words.items()
        if alarm and peer != SCHEMATHESIS  # red on the unchanged gateway as well
    ]
    findings.complete = effort.sample is None and all(OURS in words for words in judged.values())
    PAGE.write_text(page(findings.figures), encoding="utf-8")
    return findings


def chosen(effort: Effort) -> list[Mutant]:
    """The corpus of the gate's proof, or a seeded sample of each dimension, and the changes of its own beside it."""
    counts = dict(CORPUS)
    if effort.sample is not None:
        counts = dict.fromkeys(CORPUS, effort.sample) | {COMPATIBLE: effort.sample + len(SERVICES)}
    return [*corpus.sampled(effort.seed, counts), *runs.header_moved()]


def fuzzed(mutants: Sequence[Mutant], count: int) -> list[str]:
    """Those shown to Schemathesis: the first of each row."""
    return [name for row in ROWS for name in _first(mutants, row, count, SCHEMATHESIS)]


def _first(mutants: Sequence[Mutant], row: str, count: int, peer: str = "") -> list[str]:
    there = [each for each in mutants if row_of(each) == row and (not peer or expressible(each, peer))]
    return [each.name for each in there[:count]]


def row_of(mutant: Mutant) -> str:
    """The row of the table it counts in."""
    return COMPATIBLE if mutant.compatible else mutant.dimension


def gated(judged: Judged, mutants: Sequence[Mutant], count: int, workers: int, until_s: float) -> None:
    """Adds the gate's own words: of its proof's record where they are there, else by running it."""
    known = _recorded()
    for mutant in mutants:
        if mutant.name in known:
            judged[mutant.name][OURS] = known[mutant.name]
    missing = [each for each in mutants if OURS not in judged[each.name]]
    names = {name for row in ROWS for name in _first(missing, row, count)}
    asked = [each for each in missing if each.name in names]
    for outcome in corpus.run(
        asked, workers, lambda each: print(each.mutant, each.exit_code, flush=True), until_s=until_s
    ):
        judged[outcome.mutant][OURS] = outcome.line if outcome.exit_code else ""


def _recorded() -> dict[str, str]:
    """By mutant: the line of a NO, or nothing; empty where the gate's proof was not run over the code as it is."""
    proof = proof_of("gate")
    if record.state_of(proof) not in {"holds", "part"}:
        return {}
    figures = (record.read(proof) or {}).get("figures", {})
    return {each["mutant"]: each["line"] if each["exit_code"] else "" for each in figures.get("outcomes", [])}


def record_figures(findings: Findings, mutants: Sequence[Mutant], judged: Judged, effort: Effort) -> None:
    """The figures so far."""
    table: dict[str, dict[str, Any]] = {}
    for row in ROWS:
        group = [each for each in mutants if row_of(each) == row]
        cells = {peer: _cell(group, judged, peer) for peer in (*PEERS, OURS)}
        table[row] = {"changes": len(group), "peers": cells}
    findings.figures = {
        "versions": {name: version(name) for name in ("buf-bin", "pact-python", "pact-python-ffi", "schemathesis")},
        "asked_of_each": effort.sample or "all",
        "seed": effort.seed,
        "table": table,
        "words": {name: dict(sorted(words.items())) for name, words in sorted(judged.items())},
    }


def _cell(group: Sequence[Mutant], judged: Judged, peer: str) -> dict[str, int]:
    can = [each for each in group if peer == OURS or expressible(each, peer)]
    shown = [judged[each.name][peer] for each in can if peer in judged[each.name]]
    return {"expressible": len(can), "shown": len(shown), "alarms": sum(map(bool, shown))}


_HEAD: Final = """\
# The gate beside buf, Pact and Schemathesis

Written by `make proof-peers` from its record, `proof/peers.json`, which holds every word each of them said. The changes are
those of `make proof-gate` ({asked} of each dimension, seed {seed}), each planted in a tree and run for real.
buf {versions[buf-bin]}, pact-python {versions[pact-python]} with its native part {versions[pact-python-ffi]}, Schemathesis
{versions[schemathesis]}.

A cell says **caught of shown**, and in brackets how many of the row's changes the peer can express where it was not shown
all of them. A dash: it can express none. In the last row every alarm is a false one.
"""
_NOTES: Final = """\
## What each of them is, and what it cannot express

- **{BUF}**: `buf breaking`, category FILE, from the deployed release's image. It sees protos and nothing else: no verifier,
  no metadata, no HTTP, no header of an event.
- **{PACT}**: the pact of a consumer that calls every operation of the deployed API, sends every field, reads every field
  of the answer (matched by type), and leans on being refused without a credential; message pacts of the events that deployed
  consumers take in, subject and headers matched by form. Verified against the running candidate. The credential in it is minted
  anew at each run: a recorded one has expired, and fails the null mutant as well. gRPC needs Pact's protobuf plug-in, a program
  that no Python package carries: protos and the credentials between services cannot be expressed, and the body of an event is
  bytes to it.
- **{PACT_OVERRIDE}**: the same with `add_custom_header`, which its documentation shows for credentials: the provider's own
  test sends what the provider reads. Being refused without a credential cannot be asked for then, and is left out. It is of
  HTTP alone: events are as without.
- **{SCHEMATHESIS}**: `schemathesis run`, default checks and phases, by the document that the running gateway itself shows, with
  a good token. It is red on the unchanged gateway too, so that its exit code says nothing of a change.
- **{SCHEMATHESIS_NEW}**: the same, where an alarm is a failure of an operation that {runs} runs over the unchanged gateway did
  not show. What is renamed is renamed in the document as well, and agrees with itself. (Its `--baseline` does the same, and made
  each run several times as long.)
- **{OURS}**: from `proof/gate.json` where that was run over the same code, else run here, on the first of a row.
  Equivalent changes count as not caught, whoever looks.

## The outage over HTTP: who says nothing
"""


def page(figures: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    peers = (*PEERS, OURS)
    head = _HEAD.format(asked=figures["asked_of_each"], seed=figures["seed"], versions=figures["versions"])
    notes = _NOTES.format(
        BUF=BUF, PACT=PACT, PACT_OVERRIDE=PACT_OVERRIDE, SCHEMATHESIS=SCHEMATHESIS, SCHEMATHESIS_NEW=SCHEMATHESIS_NEW,
        OURS=OURS, runs=runs.UNCHANGED_RUNS,
    )  # fmt: skip
    table = [f"| changes | | {' | '.join(peers)} |", f"|---|---|{'---|' * len(peers)}"]
    for row, each in figures["table"].items():
        cells = " | ".join(_said(each["peers"][peer]) for peer in peers)
        table.append(f"| {ROWS[row]} | {each['changes']} | {cells} |")
    return "\n".join([head, *table, "", notes, *(_silent(figures["words"]) or ["Nobody."])]) + "\n"


def _said(cell: Mapping[str, int]) -> str:
    if not cell["expressible"]:
        return "–"
    short = f" ({cell['expressible']})" if cell["shown"] != cell["expressible"] else ""
    return f"{cell['alarms']} of {cell['shown']}{short}"


def _silent(words: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Of each change that moves the header: the peers that were shown it and named nothing."""
    return [
        f"- {name.partition(': ')[2]}: {', '.join(silent)}"
        for name, said in words.items()
        if name.startswith(f"{runs.HEADER_MOVED}:") and (silent := [peer for peer, alarm in said.items() if not alarm])
    ]
