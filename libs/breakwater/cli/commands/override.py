"""`breakwater override`: a person's decision over an edge, with a reason and an end."""

from typing import Any

import click

from breakwater.cli.client import Api
from breakwater.cli.durations import Duration
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json
from breakwater.cli.overriding import lay, lift, report

MODES = ("forced-open", "forced-closed", "shadow", "disabled", "fallback", "chaos")
FAULTS = ("latency", "error", "hang", "reset", "slow-body", "credential")
_FIELDS = {
    "fault": "kind",
    "share": "share",
    "control": "control_share",
    "p50": "latency_p50_s",
    "p99": "latency_p99_s",
    "longest": "latency_s_max",
    "code": "code",
}


@click.group
def command() -> None:
    """Override what a circuit breaker decides."""


@command.command("set")
@click.argument("dependency")
@click.option("--mode", type=click.Choice(MODES), required=True)
@click.option("--caller", help="Whose edge; without it every caller's.")
@click.option("--reason", required=True, help="Why; it stands in the timeline.")
@click.option("--ttl", type=Duration(), default="15m", show_default=True, help="When it ends by itself: 90s, 15m, 1h.")
@click.option("--fault", type=click.Choice(FAULTS), help="What --mode chaos injects.")
@click.option("--share", type=float, help="Share of the attempts it happens to; all without it.")
@click.option("--control", type=float, help="Share of the requests, by trace id, that are spared.")
@click.option("--p50", type=float, help="Of latency and slow-body: the median delay in seconds.")
@click.option("--p99", type=float, help="One delay in a hundred is longer, in seconds; without it all are --p50.")
@click.option("--max", "longest", type=float, help="No delay is longer, in seconds.")
@click.option("--code", help="Of error: a gRPC status, an HTTP status or an SQLSTATE.")
@common
def set_(
    options: Options, /, dependency: str, mode: str, caller: str | None, reason: str, ttl: int, **given: Any
) -> None:
    """Lay an override on DEPENDENCY."""
    fault = {_FIELDS[name]: value for name, value in given.items() if value is not None}
    report(options, lay(options, dependency, mode=mode, caller=caller, reason=reason, ttl_s=ttl, fault=fault))


@command.command("clear")
@click.argument("dependency")
@click.option("--caller", help="Whose edge; without it every caller's.")
@common
def clear(options: Options, dependency: str, caller: str | None) -> None:
    """Lift the override of DEPENDENCY."""
    report(options, lift(options, dependency, caller=caller))


@command.command("list")
@common
def list_(options: Options) -> None:
    """Show the overrides in force."""
    with Api(options) as api:
        edges = api.get("/v1/dependencies", ops=True)["edges"]
    overrides = [
        {**edge["override"], "caller": edge["caller"], "dependency": edge["dependency"]}
        for edge in edges
        if edge["override"]
    ]
    if options.as_json:
        print_json(overrides)
        return
    for item in overrides:
        edge = f"{item['caller']} -> {item['dependency']}"
        what = f"{item['mode']} ({item['fault']['kind']})" if item["fault"] else item["mode"]
        click.echo(f"{edge}: {what} until {item['expires_at']} by {item['actor']}: {item['reason']}")
    if not overrides:
        options.say("No overrides.")
