"""`breakwater incidents`: what is wrong now, and what was; taking it in hand, handing it over, reporting it."""

from pathlib import Path
from typing import Any

import click

from breakwater.cli.client import Api
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json, print_table


@click.group(invoke_without_command=True)
@click.pass_context
@common
def command(options: Options, context: click.Context) -> None:
    """List incidents, the open ones first, or do something about one."""
    if context.invoked_subcommand is not None:
        return
    with Api(options) as api:
        incidents = api.get("/v1/incidents", ops=True)["items"]
    if options.as_json:
        print_json(incidents)
    elif incidents:
        rows = [
            (
                each["id"],
                each["title"],
                f"{each['root']['caller']} → {each['root']['dependency']}",
                ", ".join(each["journeys"]),
                each["opened_at"],
                each["resolved_at"],
                each["acknowledged_by"],
            )
            for each in incidents
        ]
        print_table(("ID", "WHAT", "CAUSE", "HURTS", "OPENED", "RESOLVED", "IN HAND OF"), rows)
    else:
        options.say("No incidents.")


@command.command
@click.argument("incident", metavar="ID")
@common
def ack(options: Options, incident: str) -> None:
    """Say that you have this one in hand."""
    _act(options, incident, "ack")


@command.command("hand-over")
@click.argument("incident", metavar="ID")
@click.option("--to", "person", required=True, metavar="PERSON", help="Who has it in hand from now on.")
@click.option("--note", required=True, metavar="TEXT", help="What they must know.")
@common
def hand_over(options: Options, incident: str, person: str, note: str) -> None:
    """Hand an incident over to somebody else."""
    _act(options, incident, "hand-over", json={"to": person, "note": note})


@command.command
@click.argument("incident", metavar="ID")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
@common
def report(options: Options, incident: str, output: Path | None) -> None:
    """Print an incident with its timeline as Markdown."""
    with Api(options) as api:
        found = api.get(f"/v1/incidents/{incident}/report", ops=True)
    if output is not None:
        output.write_text(found["markdown"], encoding="utf-8")
        options.say(f"Written to {output}.")
    elif options.as_json:
        print_json(found)
    else:
        click.echo(found["markdown"], nl=False)


def _act(options: Options, incident: str, what: str, **content: Any) -> None:
    with Api(options) as api:
        found = api.request("POST", f"/v1/incidents/{incident}/{what}", ops=True, **content)
    if options.as_json:
        print_json(found)
    else:
        click.echo(f"{found['id']} is in the hand of {found['acknowledged_by']}")
