"""`breakwater playbook`: what was agreed upon for an outage, shown, previewed and run."""

import time
from typing import Any
from urllib.parse import quote

import click

from breakwater.cli.client import Api
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json, print_table

FOLLOW_EVERY_S = 0.3
FOLLOW_S_MAX = 1_800.0
DONE = "done"


@click.group
def command() -> None:
    """Show playbooks, say what one would do now, and run one."""


@command.command("list")
@common
def list_(options: Options) -> None:
    """List the playbooks, those that fit the open incidents first."""
    with Api(options) as api:
        found = api.get("/v1/playbooks", ops=True)
    if options.as_json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            "now" if each["fits"] else None,
            "by itself" if each["automatic"] else each["role"],
            each["last_run"] and each["last_run"]["outcome"],
            each["title"],
        )
        for each in found["items"]
    ]
    print_table(("NAME", "FITS", "BY", "LAST RUN", "WHAT"), rows)
    for file, problem in found["refused"].items():
        options.say(f"{file} is no playbook: {problem}")


@command.command()
@click.argument("name")
@common
def show(options: Options, name: str) -> None:
    """Show what NAME is for, what it needs, and what it does."""
    with Api(options) as api:
        items = api.get("/v1/playbooks", ops=True)["items"]
    playbook = next((each for each in items if each["name"] == name), None)
    if playbook is None:
        raise CommandError(f"There is no playbook {name}. `breakwater playbook list` shows them.")
    if options.as_json:
        print_json(playbook)
        return
    click.echo(f"{playbook['title']}\n{playbook['why']}")
    if playbook["alert"]:
        how = "starts by itself" if playbook["automatic"] else "is offered"
        click.echo(f"when      {playbook['alert']} of {playbook['dependency']}: {how}")
    for title, lines in (
        ("only if", playbook["preconditions"]),
        ("does", playbook["steps"]),
        ("then", [playbook["verify"]]),
    ):
        for line in lines:
            click.echo(f"{title:<9} {line}")


@command.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only say what it would do now.")
@click.option("--reason", default="", help="Why; it stands in the timeline.")
@common
def run(options: Options, name: str, dry_run: bool, reason: str) -> None:  # noqa: FBT001 - click passes flags so
    """Run NAME and wait for what it comes to. Exit codes: 0 done or would begin, 1 refused, failed or rolled back."""
    if not dry_run and not reason:
        raise click.UsageError("`playbook run` needs --reason: whoever is on call next must know why.")
    with Api(options) as api:
        path = f"/v1/playbooks/{quote(name, safe='')}/runs"
        begun = api.request("POST", path, ops=True, json={"dry_run": dry_run, "reason": reason})
        if dry_run:
            _print_preview(options, begun["preview"])
            return
        ended = _follow(options, api, begun["run"])
    if options.as_json:
        print_json(ended)
    else:
        click.echo(f"{name}: {ended['outcome']}")
    if ended["outcome"] != DONE:
        raise SystemExit(1)


def _print_preview(options: Options, preview: dict[str, Any]) -> None:
    if options.as_json:
        print_json(preview)
    else:
        for line in preview["lines"]:
            click.echo(line)
        for why in preview["refused"]:
            options.say(f"It would be refused, {why}")
    if preview["refused"]:
        raise SystemExit(1)


def _follow(options: Options, api: Api, run_: dict[str, Any]) -> dict[str, Any]:
    said = 0
    ends = time.monotonic() + FOLLOW_S_MAX
    while True:
        for line in run_["lines"][said:]:
            options.say(line)
        said = len(run_["lines"])
        if run_["outcome"] != "running":
            return run_
        if time.monotonic() > ends:
            raise CommandError(f"It still runs; GET /v1/playbooks/runs/{run_['id']} says what it comes to.")
        time.sleep(FOLLOW_EVERY_S)
        run_ = api.get(f"/v1/playbooks/runs/{run_['id']}", ops=True, patience_s=10.0)
