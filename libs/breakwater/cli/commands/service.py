"""`breakwater service`: stops, starts and restarts one process of the local platform."""

from typing import Any

import click

from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json
from breakwater.local import control
from breakwater.local.state import State

DONE = {"stop": "stopped; it stays down until it is started", "start": "started", "restart": "restarted"}


@click.command
@click.argument("action", type=click.Choice(list(DONE)))
@click.argument("name")
@common
def command(options: Options, action: str, name: str) -> None:
    """Stop, start or restart a process: a service, gateway, ops, nats or postgres."""
    platform = control.ask(State.at(options.state).control_socket, action, name)
    condition: dict[str, Any] = platform["services"].get(name) or platform[name]
    if options.as_json:
        print_json({"name": name, **condition})
    else:
        options.say(f"{name} {DONE[action]}")
