"""`breakwater up`: the whole platform on this machine, until Ctrl-C."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from breakwater.cli.options import Options, common

BANNER = """
  Breakwater is ready.                                 development only: its keys are for this machine

  API         {gateway}/v1
  docs        {gateway}/docs
  dashboard   {ops}/ops

  a token     {program} token --role admin --sub me{state}
  a lead      curl -s {gateway}/v1/leads -H "Authorization: Bearer $({program} token --role admin --sub me{state})" \\
                -H 'Content-Type: application/json' -d '{{"name": "王芳", "company": "海天机械", "source": "展会"}}'

  Ctrl-C drains and stops. The data stays in {root}.
"""


@click.command
@click.option(
    "--ports",
    "ports_choice",
    type=click.Choice(["default", "auto"]),
    default="default",
    show_default=True,
    help="The ports of the documentation, or free ones.",
)
@click.option("--seed", type=click.IntRange(0), help="Also load generated sample data; the same for the same seed.")
@common
def command(options: Options, ports_choice: str, seed: int | None) -> None:
    """Start NATS, PostgreSQL and all services; print one JSON line when they are ready."""
    # Imported here: the launcher brings asyncpg and the chassis with it.
    import asyncio  # noqa: PLC0415

    from breakwater.chassis import logging  # noqa: PLC0415
    from breakwater.local import topology  # noqa: PLC0415
    from breakwater.local.launcher import Launcher  # noqa: PLC0415
    from breakwater.local.logs import Console  # noqa: PLC0415
    from breakwater.local.state import State  # noqa: PLC0415

    if options.gateway is not None:
        raise click.UsageError("`up` starts a local platform; --gateway names a remote one.")
    # To standard error: standard output has one line and no more.
    logging.configure("launcher", "warning")
    state = State.at(options.state)
    ports = topology.automatic_ports() if ports_choice == "auto" else topology.default_ports()
    console = Console(quiet=options.quiet)

    async def on_ready(platform: dict[str, Any]) -> None:
        if seed is not None:
            from breakwater.cli.sample_data import load_beside  # noqa: PLC0415

            await load_beside(options, seed)
        sys.stdout.write(json.dumps(platform) + "\n")
        sys.stdout.flush()
        if not options.quiet:
            argument = "" if str(options.state) == ".breakwater" else f" --state {options.state}"
            links = {"gateway": platform["gateway"], "ops": platform["ops"]}
            console.banner(BANNER.format(**links, program=_program(), state=argument, root=state.root))

    try:
        asyncio.run(Launcher(state, ports, console).run(on_ready))
    finally:
        console.close()


def _program() -> str:
    """The command as the person at the terminal can call it again."""
    found = shutil.which("breakwater")
    if found and Path(found).samefile(sys.argv[0]):
        return "breakwater"
    return os.path.relpath(sys.argv[0])
