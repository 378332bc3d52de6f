"""`breakwater check`: one answer for a monitoring system."""

import json
from dataclasses import dataclass
from typing import Any

import click

from breakwater.cli.client import Api
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options, common
from breakwater.local import control
from breakwater.local.state import State

# The exit codes of Nagios plug-ins (Monitoring Plugins Development Guidelines).
OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    level: int
    text: str


@click.command
@click.option(
    "--format", "style", type=click.Choice(["nagios", "json", "prometheus"]), default="nagios", show_default=True
)
@common
def command(options: Options, style: str) -> None:
    """Check the platform. Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, as monitoring systems take them."""
    findings = [*_processes(options), *_front(options), *_edges(options)]
    worst = max((finding.level for finding in findings), key=_severity)
    if style == "json" or options.as_json:
        checks = [{"name": each.name, "level": WORDS[each.level], "text": each.text} for each in findings]
        click.echo(json.dumps({"level": WORDS[worst], "checks": checks}, ensure_ascii=False))
    elif style == "prometheus":
        click.echo("# HELP breakwater_check 0 OK, 1 warning, 2 critical, 3 unknown.\n# TYPE breakwater_check gauge")
        for finding in findings:
            click.echo(f'breakwater_check{{check="{finding.name}"}} {finding.level}')
    else:
        bad = [f"{finding.name}: {finding.text}" for finding in findings if finding.level != OK]
        click.echo(f"BREAKWATER {WORDS[worst]} - {'; '.join(bad) or f'{len(findings)} checks'}")
    raise SystemExit(worst)


def _severity(level: int) -> int:
    # What is unknown is worse than a warning and better than a known outage.
    return (OK, WARNING, UNKNOWN, CRITICAL).index(level)


def _processes(options: Options) -> list[Finding]:
    if options.gateway is not None:
        return []
    try:
        platform = control.ask(State.at(options.state).control_socket, "status")
    except control.NotRunningError as error:
        return [Finding("launcher", CRITICAL, str(error))]
    processes: dict[str, Any] = {
        **platform["services"],
        "nats": platform["nats"],
        "postgres": platform["postgres"],
    }
    return [
        Finding(f"process {name}", OK if own["state"] == "ready" else CRITICAL, own["state"])
        for name, own in processes.items()
    ]


def _front(options: Options) -> list[Finding]:
    findings = []
    for name, is_ops in (("gateway", False), ("ops", True)):
        try:
            with Api(options) as api:
                api.get("/readyz", ops=is_ops)
        except CommandError as error:
            findings.append(Finding(name, CRITICAL, error.format_message()))
        else:
            findings.append(Finding(name, OK, "ready"))
    return findings


def _edges(options: Options) -> list[Finding]:
    try:
        with Api(options) as api:
            seen = api.get("/v1/dependencies", ops=True)
    except CommandError as error:
        return [Finding("edges", UNKNOWN, error.format_message())]
    findings = [Finding(f"incident {item['id']}", CRITICAL, item["title"]) for item in seen["incidents"]]
    for edge in seen["edges"]:
        name = f"edge {edge['caller']}->{edge['dependency']}"
        if edge["stale"]:
            findings.append(Finding(name, UNKNOWN, "silent"))
        elif edge["forced"]:
            findings.append(Finding(name, WARNING, f"forced: {edge['forced']}"))
        elif edge["state"] != "closed":
            findings.append(Finding(name, WARNING, edge["state"]))
    return findings or [Finding("edges", OK, "all closed")]
