"""`breakwater drill`: rehearses a fault on the running platform and tells what callers saw."""

from pathlib import Path

import click

from breakwater.cli.drills.plans import PLANS
from breakwater.cli.drills.report import document, print_report
from breakwater.cli.drills.run import run
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json

SECONDS_MAX = 300
RATE_MAX = 5.0
SLACK_S_MAX = 10.0
NOT_HELD = 1


@click.command
@click.argument("name", type=click.Choice(list(PLANS)))
@click.option(
    "--seconds", type=click.IntRange(5, SECONDS_MAX), help="How long the fault lasts; 15, or 45 for an alarm."
)
@click.option(
    "--rate",
    type=click.FloatRange(0.2, RATE_MAX),
    default=1.0,
    show_default=True,
    help="Calls, as a multiple of the ordinary 5 to 10 a second.",
)
@click.option(
    "--slack",
    type=click.FloatRange(0.0, SLACK_S_MAX),
    default=1.0,
    show_default=True,
    help="Seconds on top of every limit: the way there and back, a busy machine.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="The checked-out tree; jwt-outage makes its release from a copy of it.",
)
@common
def command(options: Options, name: str, seconds: int | None, rate: float, slack: float, root: Path) -> None:
    """Rehearse the fault NAME on the local platform, beside a control group.

    The fault always ends, also by Ctrl-C. Exit codes: 0 the steady state held, 1 it did not or the drill could not be
    run, 2 wrong usage.
    """
    plan = PLANS[name]
    told = document(run(options, plan, root, seconds=seconds or plan.lasts_s, rate=rate, slack_s=slack))
    if options.as_json:
        print_json(told)
    else:
        print_report(told)
    if not told["held"]:
        raise SystemExit(NOT_HELD)
