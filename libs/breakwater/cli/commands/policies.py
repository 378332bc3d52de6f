"""`breakwater policies`: what edges go by, and which file each setting comes from."""

from typing import Any
from urllib.parse import quote

import click

from breakwater.cli.client import Api
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json, print_table


@click.command
@click.argument("dependency", required=False)
@common
def command(options: Options, dependency: str | None) -> None:
    """Show the settings of every edge to DEPENDENCY, or of all edges."""
    with Api(options) as api:
        names = [dependency] if dependency else _dependencies(api)
        found = [api.get(f"/v1/dependencies/{quote(name, safe='')}/policy", ops=True) for name in names]
    if options.as_json:
        print_json(found)
        return
    rows = [
        (f"{policy['caller']} -> {policy['dependency']}", name, setting["value"], setting["origin"])
        for each in found
        for policy in each["items"]
        for name, setting in policy["settings"].items()
    ]
    print_table(("EDGE", "SETTING", "VALUE", "FROM"), rows)
    for each in found:
        for policy in each["items"]:
            for problem in policy["refused"]:
                options.say(f"{policy['caller']} keeps what it had, its file is refused: {problem}")
        if each["unreached"]:
            options.say(f"{each['dependency']}: not reached: {', '.join(each['unreached'])}")


def _dependencies(api: Api) -> list[str]:
    edges: list[dict[str, Any]] = api.get("/v1/dependencies", ops=True)["edges"]
    return sorted({edge["dependency"] for edge in edges})
