"""`breakwater fallback`: sends callers to their fallback on purpose, and back."""

import click

from breakwater.cli.durations import Duration
from breakwater.cli.options import Options, common
from breakwater.cli.overriding import lay, lift, report


@click.command
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.argument("dependency")
@click.option("--caller", help="Whose edge; without it every caller's.")
@click.option("--reason", help="Why; needed for `on`, it stands in the timeline.")
@click.option("--ttl", type=Duration(), default="15m", show_default=True, help="When it ends by itself: 90s, 15m, 1h.")
@common
def command(options: Options, switch: str, dependency: str, caller: str | None, reason: str | None, ttl: int) -> None:
    """Turn the fallback for DEPENDENCY on or off."""
    if switch == "off":
        report(options, lift(options, dependency, caller=caller))
        return
    if not reason:
        raise click.UsageError("`fallback on` needs --reason: whoever is on call next must know why.")
    report(options, lay(options, dependency, mode="fallback", caller=caller, reason=reason, ttl_s=ttl))
