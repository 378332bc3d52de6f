"""`breakwater release`: freezes a version's interface under contracts/."""

from pathlib import Path

import click

from breakwater.cli.errors import CommandError


@click.command
@click.argument("service")
@click.argument("version")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=".", help="The checked-out tree.")
def command(service: str, version: str, root: Path) -> None:
    """Write contracts/SERVICE/VERSION: the wheel, its lock, and its interface as found by running it. Never overwrites."""
    from breakwater.compat import release  # noqa: PLC0415
    from breakwater.compat.artifacts import ArtifactError  # noqa: PLC0415

    try:
        click.echo(f"sha256:{release.write(root, service, version)}")
    except (ArtifactError, RuntimeError) as error:
        raise CommandError(str(error)) from error
