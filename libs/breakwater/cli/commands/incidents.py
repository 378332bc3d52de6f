"""`breakwater incidents`: what is wrong now, and what was."""

import click

from breakwater.cli.client import Api
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json, print_table


@click.command
@click.option("--ack", "acknowledged", metavar="ID", help="Say that you have this one in hand.")
@common
def command(options: Options, acknowledged: str | None) -> None:
    """List incidents, the open ones first."""
    with Api(options) as api:
        if acknowledged:
            api.request("POST", f"/v1/incidents/{acknowledged}/ack", ops=True)
        incidents = api.get("/v1/incidents", ops=True)["items"]
    if options.as_json:
        print_json(incidents)
    elif incidents:
        rows = [
            (each["id"], each["title"], each["opened_at"], each["resolved_at"], each["acknowledged_by"])
            for each in incidents
        ]
        print_table(("ID", "WHAT", "OPENED", "RESOLVED", "IN HAND OF"), rows)
    else:
        options.say("No incidents.")
