"""The error matrix of every channel before our clients and before Apprise.

Writes docs/channels.md.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

from services.notify.escalation.domain import Outcome
from tests.channelmatrix.cases import OK, Case, cases
from tests.channelmatrix.clients import MEANS, apprise, ours
from tests.proofs.register import ROOT, Effort, Findings, Progress

PAGE: Final = ROOT / "docs" / "channels.md"
WORDS: Final = {
    "ok": "taken",
    "later": "not taken, may be tried again",
    "permanent": "refused for good",
    "unknown": "nobody knows",
}
Said = tuple[Case, Outcome, bool]
"""A case, what we make of it, and whether Apprise calls it a success."""
CHANNELS: Final = {"wecom": "WeCom", "dingtalk": "DingTalk", "feishu": "Feishu", "email": "SMTP"}


def prove(effort: Effort, progress: Progress) -> Findings:
    matrix = cases()[: effort.sample]
    findings = Findings(complete=len(matrix) == len(cases()))
    said = asyncio.run(_said(matrix))
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    for case, outcome, peer in said:
        if (outcome.value == "delivered") and case.means != OK:
            findings.violations.append(f"{case.channel}: {case.name} is called delivered")
        elif outcome not in MEANS[case.means]:
            findings.violations.append(f"{case.channel}: {case.name} is {case.means} and is called {outcome.value}")
        wrong[case.channel]["cases"] += 1
        wrong[case.channel]["not delivered"] += case.means != OK
        wrong[case.channel]["ours, false success"] += outcome.value == "delivered" and case.means != OK
        wrong[case.channel]["apprise, false success"] += peer and case.means != OK
        wrong[case.channel]["apprise, false failure"] += not peer and case.means == OK
    findings.figures = {channel: dict(counts) for channel, counts in wrong.items()} | {"apprise": version("apprise")}
    if findings.complete:
        PAGE.write_text(page(said, wrong), encoding="utf-8")
    progress(findings)
    return findings


async def _said(matrix: list[Case]) -> list[Said]:
    # One after the other: Apprise's plugins are pointed at a server by an attribute of their class.
    return [(case, await ours(case), await apprise(case)) for case in matrix]


def page(said: Sequence[Said], wrong: Mapping[str, Counter[str]]) -> str:
    """The page, from what was found."""
    lines = [
        "# The error matrix of the channels",
        "",
        f"Written by `make proof-channels`: our clients and Apprise {version('apprise')} before the same local servers, one try",
        "each. A false success is a message called sent that was not taken, or of which nobody knows. Apprise answers yes or no;",
        'it knows no "later", no "for good" and no "unknown".',
        "",
        "| channel | cases | not taken for certain | ours: false success | Apprise: false success | Apprise: false failure |",
        "|---|---|---|---|---|---|",
    ]
    for channel, counts in wrong.items():
        cells = ("cases", "not delivered", "ours, false success", "apprise, false success", "apprise, false failure")
        lines.append(f"| {CHANNELS[channel]} | {' | '.join(str(counts[cell]) for cell in cells)} |")
    lines += [
        "",
        "## Where Apprise is wrong",
        "",
        "| channel | case | what it means | ours | Apprise |",
        "|---|---|---|---|---|",
    ]
    for case, outcome, peer in said:
        if peer != (case.means == OK):
            verdict = outcome.value
            lines.append(
                f"| {CHANNELS[case.channel]} | {case.name} | {WORDS[case.means]} | {verdict} | {'sent' if peer else 'failed'} |"
            )
    return "\n".join([*lines, ""])
