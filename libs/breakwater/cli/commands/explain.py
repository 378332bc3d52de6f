"""`breakwater explain`: what an error code means and what to do; works without a platform."""

import difflib

import click

from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json


@click.command
@click.argument("code")
@common
def command(options: Options, code: str) -> None:
    """Explain the CODE of an error and the next step."""
    # Imported here, as everything of the chassis.
    from breakwater.chassis.next_steps import NEXT_STEPS  # noqa: PLC0415

    if code not in NEXT_STEPS:
        near = difflib.get_close_matches(code, NEXT_STEPS, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else f" Known: {', '.join(sorted(NEXT_STEPS))}."
        raise CommandError(f"There is no error code {code!r}.{hint}")
    if options.as_json:
        print_json({"code": code, "next_step": NEXT_STEPS[code]})
    else:
        click.echo(f"{code}: {NEXT_STEPS[code]}")
