"""`breakwater slo`: the objectives of deploy/slo.yaml, and the rules and dashboards made of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from breakwater.cli.errors import CommandError
from breakwater.cli.output import print_json, print_table

_root = click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=".", help="The tree.")


@click.group
def command() -> None:
    """Show what is promised; make Prometheus' rules and Grafana's dashboards of it."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_root
def list_(root: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Show every objective."""
    from breakwater.slo import generated  # noqa: PLC0415

    with _understood():
        found = generated.objectives(root)
    if as_json:
        fields = ("kind", "name", "title", "promise", "objective", "requests_min", "p99_s_max", "owner")
        print_json([{name: getattr(each, name) for name in fields} for each in found.all])
        return
    rows = [(each.kind, each.name, f"{each.objective:.4g}", each.owner, each.promise) for each in found.all]
    print_table(("KIND", "NAME", "OBJECTIVE", "OWNER", "PROMISE"), rows)


@command.command()
@_root
def write(root: Path) -> None:
    """Write rules and dashboards anew; prints what was changed."""
    from breakwater.slo import generated  # noqa: PLC0415

    with _understood():
        for name in generated.write(root):
            click.echo(name)


@command.command()
@_root
def check(root: Path) -> None:
    """Say which rules and dashboards are not as deploy/slo.yaml has them. Exit code 1 when there are any."""
    from breakwater.slo import generated  # noqa: PLC0415

    with _understood():
        stale = generated.stale(root)
    if stale:
        raise CommandError(f"Not as deploy/slo.yaml has it: {', '.join(stale)}. Run `make slo-rules`.")


@contextmanager
def _understood() -> Iterator[None]:
    from breakwater.slo.objectives import WrongObjectivesError  # noqa: PLC0415

    try:
        yield
    except (WrongObjectivesError, OSError) as error:
        raise CommandError(str(error)) from error
