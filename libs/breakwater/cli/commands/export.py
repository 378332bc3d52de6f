"""`breakwater export`: a dataset as a file."""

import hashlib
import os
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json
from breakwater.cli.progress import bar

if TYPE_CHECKING:
    from breakwater.cli.client import Api
    from breakwater.cli.progress import Advance

POLL_MIN_S = 0.05
POLL_MAX_S = 1.0
FINISHED = frozenset({"completed", "failed", "cancelled"})


@click.command
@click.argument("dataset", type=click.Choice(["leads", "customers", "assignments"]))
@click.option("--format", "file_format", type=click.Choice(["xlsx", "csv", "pdf"]), default="xlsx", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write."
)
@click.option("--encoding", type=click.Choice(["utf-8", "gbk"]), default="utf-8", show_default=True, help="Of a csv.")
@click.option("--fields", help="Columns, separated by commas; by default the dataset's own.")
@click.option(
    "--password-file",
    type=click.File(encoding="utf-8"),
    help="Encrypt the xlsx with the first line of this file; - reads standard input.",
)
@click.option("--ask-password", is_flag=True, help="Encrypt the xlsx with a password typed on the terminal.")
@common
def command(
    options: Options,
    dataset: str,
    file_format: str,
    output: Path,
    encoding: str,
    fields: str | None,
    password_file: TextIO | None,
    ask_password: bool,  # noqa: FBT001 (click passes flags)
) -> None:
    """Export DATASET to a file. When `files` is out, a degraded file comes at once, and says so."""
    # Imported here: the HTTP client.
    from breakwater.cli.client import PATIENCE_S, Api  # noqa: PLC0415

    body: dict[str, Any] = {"dataset": dataset, "format": file_format}
    if encoding != "utf-8":
        body["encoding"] = encoding
    if fields:
        body["fields"] = [field.strip() for field in fields.split(",")]
    if password_file is not None or ask_password:
        body["password"] = _password(password_file)
    with Api(options) as api, bar(options, f"{dataset}.{file_format}") as advance:
        key = {"Idempotency-Key": str(uuid.uuid4())}
        accepted = api.request("POST", "/v1/exports", patience_s=PATIENCE_S, headers=key, json=body)
        export = _finished(api, accepted["id"], advance)
        if export["state"] == "cancelled":
            raise CommandError("The export was cancelled.")
        if export["state"] == "failed":
            raise CommandError(f"The export failed: {export['failure']['detail']}")
        export, output = _download(api, export, output)
    if options.as_json:
        print_json({**export, "file": str(output)})
    else:
        click.echo(f"{output}: {export['rows']} rows, made by {export['engine']}")
    if "degraded" in export:
        degraded = export["degraded"]
        options.say(
            f"This is a degraded file: {degraded['dependency']} is out ({degraded['reason']}). "
            f"Missing: {', '.join(degraded['missing'])}. The full file follows by itself as export {degraded['follow_up']}."
        )


def _password(file: TextIO | None) -> str:
    # Never an argument: those are in the process list and in the shell's history.
    if file is not None:
        try:
            return file.readline().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise CommandError("The password's file is not UTF-8 text.") from error
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask on: give the password by --password-file.")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _finished(api: "Api", export_id: str, advance: "Advance") -> dict[str, Any]:
    from breakwater.cli.client import PATIENCE_S  # noqa: PLC0415

    poll_s = POLL_MIN_S
    while True:
        export = api.get(f"/v1/exports/{export_id}", patience_s=PATIENCE_S)
        advance(export["rows_done"], export["rows_total"])
        if export["state"] in FINISHED:
            return export
        time.sleep(poll_s)
        poll_s = min(poll_s * 1.5, POLL_MAX_S)


def _download(api: "Api", export: dict[str, Any], output: Path) -> tuple[dict[str, Any], Path]:
    """Writes the file whole or not at all, proven by its hash; the export as it then is, and where its file is.

    When `files` goes out between its last word and this, a lesser file takes the place of the full one. That of a PDF is a
    workbook, and is named as one.
    """
    from breakwater.cli.client import PATIENCE_S  # noqa: PLC0415

    aside = output.with_name(f".{output.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with api.stream(f"/v1/exports/{export['id']}/content", PATIENCE_S) as answer, aside.open("wb") as file:
            for chunk in answer.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
            if answer.headers.get("etag") != f'"{export["sha256"]}"':
                export = api.get(f"/v1/exports/{export['id']}", patience_s=PATIENCE_S)
        if digest.hexdigest() != export["sha256"]:
            raise CommandError("The file that arrived is not the file that was made: its SHA-256 differs. Try again.")
        if export["format"] == "pdf" and export["engine"] == "local":
            output = output.with_suffix(".xlsx")
        aside.replace(output)
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error.strerror}.") from error
    finally:
        aside.unlink(missing_ok=True)
    return export, output
