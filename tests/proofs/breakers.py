"""The rules of `tests/simulation/breaker_rules.py` held against ours and the public breakers; writes docs/breakers.md."""

import inspect
from typing import Final

from tests.proofs.register import ROOT, Effort, Findings, Progress
from tests.simulation.breaker_rules import RULES, SEEDS, Rule, violations
from tests.simulation.peers import BREAKERS

OURS: Final = BREAKERS[0]
PAGE: Final = ROOT / "docs" / "breakers.md"
Broken = dict[str, dict[str, tuple[int, str | None]]]


def prove(effort: Effort, progress: Progress) -> Findings:
    broken = measure(range(effort.seed, effort.seed + SEEDS))
    PAGE.write_text(page(broken, SEEDS), encoding="utf-8")
    return Findings(
        figures={
            "seeds_of_each_rule": SEEDS,
            "rules": len(RULES),
            "rules_broken": {
                breaker.name: sum(broken[rule.__name__][breaker.name][0] > 0 for rule in RULES) for breaker in BREAKERS
            },
            "broken": {
                rule.__name__: {
                    name: {"seeds": seeds, "first": first} for name, (seeds, first) in broken[rule.__name__].items()
                }
                for rule in RULES
            },
        },
        violations=[
            f"{rule.__name__}: {broken[rule.__name__][OURS.name][1]}"
            for rule in RULES
            if broken[rule.__name__][OURS.name][0]
        ],
    )


def measure(seeds: range) -> Broken:
    """By rule and breaker: in how many seeds it was broken, and what happened in the first."""
    return {rule.__name__: {breaker.name: violations(breaker, rule, seeds) for breaker in BREAKERS} for rule in RULES}


def page(broken: Broken, tried: int) -> str:
    """The table as Markdown; the same for any number of seeds while a rule is broken always or never."""
    lines = [
        "# Breakers beside ours: generations, probes, cancellation, clocks",
        "",
        "Written by `make proof-breakers`, which runs each rule below against the installed libraries, on a virtual clock",
        "and a deterministic loop, in seeded situations ([breaker_rules.py](../tests/simulation/breaker_rules.py)). Each",
        "library is used in the form its documentation shows for asyncio, with five failures to open and one second until",
        "it probes. A rule looks only at which calls get through. **x** says that it was broken in every seed; what happened",
        "instead stands below.",
        "",
        "| rule | " + " | ".join(f"{breaker.name} {breaker.form}" for breaker in BREAKERS) + " |",
        "|---|" + "---|" * len(BREAKERS),
    ]
    notes = []
    for rule in RULES:
        row = broken[rule.__name__]
        cells = []
        for breaker in BREAKERS:
            seeds, first = row[breaker.name]
            cells.append("kept" if not seeds else "**x**" if seeds == tried else f"**x** {seeds}/{tried}")
            if first is not None:
                notes.append(f"- {_title(rule)}, {breaker.name}: {first}.")
        lines.append(f"| {_title(rule)} | " + " | ".join(cells) + " |")
    count = [sum(broken[rule.__name__][breaker.name][0] > 0 for rule in RULES) for breaker in BREAKERS]
    lines.append(f"| **rules broken of {len(RULES)}** | " + " | ".join(map(str, count)) + " |")
    lines += ["", "## The rules", ""]
    lines += [f"- **{_title(rule)}.** {inspect.getdoc(rule)}" for rule in RULES]
    lines += ["", "## What happened instead", "", *notes, ""]
    return "\n".join(lines)


def _title(rule: Rule) -> str:
    name = rule.__name__.replace("_", " ")
    return name[0].upper() + name[1:]
