"""`breakwater override`: a person's decision over an edge, with a reason and an end."""

import click

from breakwater.cli.client import Api
from breakwater.cli.durations import Duration
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json
from breakwater.cli.overriding import lay, lift, report

MODES = ("forced-open", "forced-closed", "shadow", "disabled", "fallback")


@click.group
def command() -> None:
    """Override what a circuit breaker decides."""


@command.command("set")
@click.argument("dependency")
@click.option("--mode", type=click.Choice(MODES), required=True)
@click.option("--caller", help="Whose edge; without it every caller's.")
@click.option("--reason", required=True, help="Why; it stands in the timeline.")
@click.option("--ttl", type=Duration(), default="15m", show_default=True, help="When it ends by itself: 90s, 15m, 1h.")
@common
def set_(options: Options, dependency: str, mode: str, caller: str | None, reason: str, ttl: int) -> None:
    """Lay an override on DEPENDENCY."""
    report(options, lay(options, dependency, mode=mode, caller=caller, reason=reason, ttl_s=ttl))


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
        click.echo(f"{edge}: {item['mode']} until {item['expires_at']} by {item['actor']}: {item['reason']}")
    if not overrides:
        options.say("No overrides.")
