"""`breakwater deploy`: switches a supervised service of the local platform to a release."""

from pathlib import Path

import click

from breakwater.cli.deployments import deploy
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options, common

PIN = "pin"


@click.command
@click.argument("service")
@click.argument("version")
@click.option("--env", "environment", default="prod", show_default=True, help="Environment of deploy/lock.yaml.")
@click.option(
    "--force", "reason", metavar="REASON", default="", help="Deploy although the answer is NO; REASON is kept."
)
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=".", help="The checked-out tree.")
@common
def command(options: Options, service: str, version: str, environment: str, reason: str, root: Path) -> None:
    """Run VERSION of SERVICE on the local platform when the matrix allows it, and record it in deploy/lock.yaml.

    VERSION may be `pin`: the one that deploy/lock.yaml names.

    A release that does not become ready gives way to the pin again. Exit codes: 0 it runs, 1 it does not, 2 an artifact is
    missing or changed.
    """
    from breakwater.compat.artifacts import ArtifactError  # noqa: PLC0415
    from breakwater.compat.deploying import NotDeployedError  # noqa: PLC0415

    try:
        version = _pin(root, service, environment) if version == PIN else version
        report = deploy(options, root, service, version, environment, reason=reason)
    except ArtifactError as error:
        click.echo(f"NO: {service} {version} -> {environment}. {error}", err=True)
        raise SystemExit(2) from error
    except NotDeployedError as error:
        raise CommandError(str(error)) from error
    click.echo(report.first_line())
    if report.exit_code() != 0 and not reason:
        raise SystemExit(report.exit_code())
    options.say(f"{service} {version} runs" + (f", forced: {reason}" if report.exit_code() != 0 else ""))


def _pin(root: Path, service: str, environment: str) -> str:
    from breakwater.compat import artifacts  # noqa: PLC0415

    return artifacts.deployed(root / "contracts", root / "deploy" / "lock.yaml", environment, service)[0].version
