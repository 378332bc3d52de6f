"""`breakwater versions`: has every changed interface a new version?"""

from pathlib import Path

import click

from breakwater.cli.errors import CommandError


@click.command
@click.option("--service", "services", multiple=True, help="A service; may be repeated. Default: all of them.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=".", help="The checked-out tree.")
def command(services: tuple[str, ...], root: Path) -> None:
    """Run each service and compare its interface with the release of the version that services/NAME/VERSION names.

    Exit codes: 0 unchanged or a new version, 1 changed under a released version.
    """
    from breakwater.compat import replay, versions  # noqa: PLC0415
    from breakwater.compat.artifacts import ArtifactError  # noqa: PLC0415

    changed = False
    for service in services or replay.SERVICES:
        try:
            version, found = versions.of_tree(root, service), versions.changes(root, service)
        except (ArtifactError, RuntimeError) as error:
            raise CommandError(str(error)) from error
        if not found:
            click.echo(f"{service} {version}: as it was released, or new")
            continue
        changed = True
        click.echo(f"{service} {version} was released with another interface:")
        for file, difference in found.items():
            click.echo(f"  {file}: {difference}")
        click.echo(f"Give it a new version in services/{service}/VERSION, and release it.")
    raise SystemExit(int(changed))
