"""`breakwater import`: rows of a file, by a mapping."""

from pathlib import Path
from typing import Any

import click

from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json, print_table
from breakwater.cli.progress import bar

REJECTIONS_SHOWN_MAX = 1_000


@click.command
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option("--mapping", default="default", show_default=True, help="A shipped mapping's name, or a YAML file.")
@click.option("--only", is_flag=True, help="Leave out the files beside it that the mapping names as related.")
@click.option("--reassign", is_flag=True, help="Route open leads anew that come with an owner.")
@common
def command(options: Options, file: Path, mapping: str, only: bool, reassign: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Import FILE (CSV or XLSX); list the rows that were rejected, and why."""
    # Imported here: yaml and the HTTP client.
    from breakwater.cli.client import Api  # noqa: PLC0415
    from breakwater.cli.importing import files_of, import_file  # noqa: PLC0415

    imports: list[dict[str, Any]] = []
    with Api(options) as api:
        for each in files_of(file, mapping, only=only):
            with bar(options, each.path.name) as advance:
                report = import_file(
                    api,
                    each,
                    reassign=reassign,
                    progress=lambda state: advance(state["rows_done"], state["rows"]),
                )
            imports.append(report)
            if report["state"] == "failed":
                break
    if options.as_json:
        print_json({"imports": imports})
    else:
        _print(options, imports)
    failed = [report for report in imports if report["state"] == "failed"]
    if failed:
        raise CommandError(f"{failed[0]['file']}: {failed[0]['failure']}")


def _print(options: Options, imports: list[dict[str, Any]]) -> None:
    rows = [
        (each["file"], each["state"], each["rows"], each["created"], each["merged"], each["rejected"], each["unlinked"])
        for each in imports
    ]
    print_table(("FILE", "STATE", "ROWS", "CREATED", "MERGED", "REJECTED", "UNLINKED"), rows)
    for each in imports:
        for rejection in each["rejections"][:REJECTIONS_SHOWN_MAX]:
            field = f"{rejection['field']}: " if rejection["field"] else ""
            click.echo(f"{each['file']} row {rejection['row']}: {field}{rejection['reason']}")
        if len(each["rejections"]) > REJECTIONS_SHOWN_MAX:
            options.say(f"{each['file']}: only the first {REJECTIONS_SHOWN_MAX} rejections are shown; --json has all.")
