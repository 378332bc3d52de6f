"""`breakwater status`: what runs, what it leans on, and what is wrong."""

from typing import Any

import click

from breakwater.cli.client import Api
from breakwater.cli.errors import CommandError, RequestRefusedError
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json, print_table
from breakwater.local import control
from breakwater.local.state import State

EDGES_MAX = 1_000


@click.command
@common
def command(options: Options) -> None:
    """Show services, servers, edges, overrides and incidents."""
    document: dict[str, Any] = {}
    if options.gateway is None:
        document = control.ask(State.at(options.state).control_socket, "status")
    document |= _seen_by_ops(options)
    if options.as_json:
        print_json(document)
        return
    if "services" in document:
        _print_processes(document)
    _print_edges(document)


def _seen_by_ops(options: Options) -> dict[str, Any]:
    """Edges, overrides and incidents; null when the ops process cannot be asked, for unknown is not healthy."""
    try:
        with Api(options) as api:
            seen = api.get("/v1/dependencies", ops=True, limit=EDGES_MAX)
    except RequestRefusedError:
        raise
    except CommandError as error:
        options.say(f"ops does not answer, so edges and incidents are unknown: {error.format_message()}")
        return {"edges": None, "overrides": None, "incidents": None}
    edges = seen["edges"]
    overrides = [
        {**edge["override"], "caller": edge["caller"], "dependency": edge["dependency"]}
        for edge in edges
        if edge["override"]
    ]
    return {"edges": edges, "overrides": overrides, "incidents": seen["incidents"]}


def _print_processes(document: dict[str, Any]) -> None:
    rows = []
    for name, own in [*document["services"].items(), ("nats", document["nats"]), ("postgres", document["postgres"])]:
        port = own.get("grpc") or own.get("port")
        rows.append((name, own["state"], own["pid"], port, own.get("metrics"), own["restarts"], own["since"]))
    print_table(("PROCESS", "STATE", "PID", "PORT", "METRICS", "RESTARTS", "SINCE"), rows)
    click.echo(f"\ngateway {document['gateway']}   ops {document['ops']}/ops")


def _print_edges(document: dict[str, Any]) -> None:
    if document["edges"] is None:
        return
    rows = [
        (
            f"{edge['caller']} -> {edge['dependency']}",
            "unknown" if edge["stale"] else edge["state"],
            edge["forced"],
            _percent(edge["availability"]),
            _rounded(edge["rate_per_s"]),
            _rounded(edge["p99_ms"]),
        )
        for edge in document["edges"]
    ]
    click.echo()
    print_table(("EDGE", "STATE", "FORCED", "AVAILABLE", "PER S", "P99 MS"), rows)
    click.echo()
    if document["incidents"]:
        incidents = [(item["id"], item["opened_at"], item["title"]) for item in document["incidents"]]
        print_table(("INCIDENT", "OPENED", "WHAT"), incidents)
    else:
        click.echo("No incidents.")


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share * 100:.1f} %"


def _rounded(figure: float | None) -> str | None:
    return None if figure is None else f"{figure:.1f}"
