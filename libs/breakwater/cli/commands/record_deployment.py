"""`breakwater record-deployment`: says in deploy/lock.yaml what runs where."""

from pathlib import Path

import click

from breakwater.cli.errors import CommandError


@click.command
@click.argument("service")
@click.argument("version")
@click.option("--env", "environment", default="prod", show_default=True)
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=".", help="The checked-out tree.")
def command(service: str, version: str, environment: str, root: Path) -> None:
    """Record that VERSION of SERVICE runs in an environment: the gate compares candidates with it."""
    from breakwater.compat import release  # noqa: PLC0415
    from breakwater.compat.artifacts import ArtifactError  # noqa: PLC0415

    try:
        release.record(root, service, version, environment)
    except ArtifactError as error:
        raise CommandError(str(error)) from error
