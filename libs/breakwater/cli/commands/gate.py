"""`breakwater gate`: may the candidate in this tree replace what is deployed?"""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from breakwater.cli.client import Api
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options
from breakwater.cli.output import print_json

if TYPE_CHECKING:
    from breakwater.compat.verdict import Report

LINE_CHARS_MAX = 4_000
"""What ops takes of a verdict."""


@click.command
@click.option("--candidate", "services", multiple=True, help="A service; may be repeated. Default: all of them.")
@click.option("--env", "environment", default="prod", show_default=True, help="Environment of deploy/lock.yaml.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML here.")
@click.option(
    "--json", "as_json", is_flag=False, flag_value="-", help="Write the reports as JSON here; - is standard output."
)
@click.option("--first", is_flag=True, help="Stop at the first thing that blocks: the quickest NO.")
@click.option("--tell", is_flag=True, help="Put each verdict on the timeline of the platform's ops as well.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="BREAKWATER_STATE",
    default=".breakwater",
    show_default=True,
    help="Of --tell: state directory of the local platform.",
)
@click.option("--gateway", envvar="BREAKWATER_GATEWAY", help="Of --tell: a remote gateway; needs BREAKWATER_TOKEN.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=".", help="The checked-out tree.")
def command(
    services: tuple[str, ...],
    environment: str,
    junit: Path | None,
    as_json: str | None,
    *,
    first: bool,
    tell: bool,
    state: Path,
    gateway: str | None,
    root: Path,
) -> None:
    """Run the candidate and check it against every deployed release: protos, credentials, events, HTTP, callers.

    Exit codes: 0 may be deployed, 1 may not, 2 the gate itself failed.
    """
    import json  # noqa: PLC0415

    from breakwater.compat import gate  # noqa: PLC0415

    unknown = sorted(set(services) - set(gate.SERVICES))
    if unknown:
        raise click.UsageError(f"There is no service {', '.join(unknown)}; there are {', '.join(gate.SERVICES)}.")
    reports = [gate.run(root, service, environment, whole=not first) for service in services or gate.SERVICES]
    for report in reports:
        click.echo(report.first_line(), err=as_json == "-")
    documents = [json.loads(report.to_json()) for report in reports]
    if as_json == "-":
        print_json(documents)
    elif as_json:
        Path(as_json).write_text(json.dumps(documents, ensure_ascii=False, indent=2), encoding="utf-8")
    if junit:
        junit.write_text(gate.junit(reports), encoding="utf-8")
    if tell:
        _tell_ops(Options(state, gateway, as_json=False, quiet=False), reports)
    raise SystemExit(max(report.exit_code() for report in reports))


def _tell_ops(options: Options, reports: "list[Report]") -> None:
    # A verdict stands whether or not it is told: who asked for it reads it above.
    try:
        with Api(options) as api:
            for report in reports:
                path = f"/v1/gate-verdicts/{quote(report.service, safe='')}"
                told = {
                    "environment": report.environment,
                    "line": " ".join(report.first_line().split())[:LINE_CHARS_MAX],
                }
                api.request("POST", path, ops=True, json=told)
    except CommandError as error:
        options.say(f"Not on the timeline: {error.format_message()}")
