"""Laying and lifting overrides, shared by `override` and `fallback`."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from breakwater.cli.client import Api
from breakwater.cli.options import Options
from breakwater.cli.output import print_json


def lay(
    options: Options,
    dependency: str,
    *,
    mode: str,
    caller: str | None,
    reason: str,
    ttl_s: int,
    fault: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Lays an override; what the platform says of it."""
    body: dict[str, Any] = {"mode": mode, "reason": reason, "ttl_s": ttl_s}
    if caller:
        body["caller"] = caller
    if fault:
        body["fault"] = fault
    with Api(options) as api:
        return api.request("PUT", _path(dependency), ops=True, json=body)


def lift(options: Options, dependency: str, *, caller: str | None) -> dict[str, Any]:
    """Lifts an override; what the platform says of it."""
    with Api(options) as api:
        return api.request("DELETE", _path(dependency), ops=True, params={"caller": caller} if caller else {})


def report(options: Options, laid: dict[str, Any]) -> None:
    """Says where it is in force, and whom it did not reach."""
    if options.as_json:
        print_json(laid)
        return
    override = laid.get("override")
    what = f"{override['mode']} until {override['expires_at']}" if override else "back to automatic"
    edges = ", ".join(sorted(laid["edges"])) or "no edge yet"
    click.echo(f"{laid['dependency']}: {what} ({edges})")
    if laid["unreached"]:
        options.say(f"Not reached, they take it from NATS when they can: {', '.join(laid['unreached'])}")


def _path(dependency: str) -> str:
    return f"/v1/dependencies/{quote(dependency, safe='')}/override"
