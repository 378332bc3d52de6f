"""An incident with its timeline as a document to hand on: Markdown. Pure."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from services.gateway.ops.incidents.domain import Incident, Step
from services.gateway.ops.incidents.evidence import Pair
from services.gateway.ops.timeline.domain import Entry

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def render(incident: Incident, entries: Sequence[Entry], now: datetime) -> str:
    """The report; `entries` are those of the timeline that belong to it, oldest first."""
    lines = [f"# {incident.id}: {_plain(incident.title)}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_plain(value)} |" for name, value in _facts(incident, now) if value]
    lines += _section("Changed before", [_plain(each) for each in incident.changes])
    lines += _section("Done about it", [_action(incident, number) for number in range(len(incident.actions))])
    lines += _section("Timeline", [f"{_clock(each.at)} {_plain(each.text)}" for each in entries])
    return "\n".join(lines) + "\n"


def _facts(incident: Incident, now: datetime) -> Iterator[tuple[str, str]]:
    cause = incident.cause
    yield "Cause", _edge((cause.caller, cause.dependency))
    yield "Instances", ", ".join(cause.instances)
    yield "Kind", f"{cause.fault}, {cause.locus}"
    yield "Alert", incident.alert
    yield "Runbook", incident.runbook
    yield "Owner", incident.owner
    yield "Began", _moment(cause.since or incident.opened_at)
    yield "Opened", _moment(incident.opened_at)
    how = ", not asked any more: state unknown" if incident.unknown else ""
    yield "Resolved", (_moment(incident.resolved_at) if incident.resolved_at else "no") + how
    minutes, seconds = divmod(int(((incident.resolved_at or now) - incident.opened_at).total_seconds()), 60)
    yield "Lasted", f"{minutes} min {seconds} s"
    yield "Pages", str(incident.pages)
    yield "Came back", f"{incident.relapses} times" if incident.relapses else ""
    yield "In hand of", incident.acknowledged_by
    yield "Callers hurt", ", ".join(cause.callers)
    yield "Dragged along", ", ".join(_edge(pair) for pair in cause.symptoms)
    yield "Journeys hurt", ", ".join(incident.journeys)
    yield "Requests failed", f"about {incident.failed:.0f}"
    yield "Requests degraded", f"about {incident.degraded:.0f}"


def _action(incident: Incident, number: int) -> str:
    action = incident.actions[number]
    if action.step is Step.HANDED_OVER:
        return f"{_clock(action.at)} {_plain(f'{action.actor} handed over to {action.to}: {action.note}')}"
    return f"{_clock(action.at)} {_plain(f'{action.actor} acknowledged')}"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {line}" for line in lines)] if lines else []


def _edge(pair: Pair) -> str:
    return f"{pair[0]} → {pair[1]}"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}"


def _plain(text: str) -> str:
    """What people wrote, as text: neither markup nor a second line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
