"""`breakwater can-deploy`: was this release verified beside everything that runs there?"""

from pathlib import Path

import click

from breakwater.cli.output import print_json

GATE_FAILED = 2


@click.command
@click.argument("service")
@click.argument("version")
@click.option("--env", "environment", default="prod", show_default=True, help="Environment of deploy/lock.yaml.")
@click.option("--verify", is_flag=True, help="First verify it beside every release there is, and keep the results.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=".", help="The checked-out tree.")
def command(service: str, version: str, environment: str, root: Path, *, verify: bool, as_json: bool) -> None:
    """Look up VERSION of SERVICE beside what is deployed, as provider and as consumer. Unverified is a NO.

    Exit codes: 0 may be deployed, 1 may not, 2 an artifact is missing or changed.
    """
    import json  # noqa: PLC0415

    from breakwater.compat import matrix  # noqa: PLC0415
    from breakwater.compat.artifacts import ArtifactError  # noqa: PLC0415

    contracts = root / "contracts"
    try:
        if verify:
            matrix.record(contracts, service, version)
        report = matrix.may_deploy(contracts, root / "deploy" / "lock.yaml", environment, service, version)
    except ArtifactError as error:
        click.echo(f"NO: {service} {version} -> {environment}. {error}", err=True)
        raise SystemExit(GATE_FAILED) from error
    click.echo(report.first_line(), err=as_json)
    if as_json:
        print_json(json.loads(report.to_json()))
    raise SystemExit(report.exit_code())
