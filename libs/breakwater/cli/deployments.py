"""Deploying on the local platform, shared by `deploy` and the drill of the outage."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from breakwater.cli.client import Api
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options
from breakwater.local.state import State

if TYPE_CHECKING:
    from breakwater.compat.verdict import Report

OPS_PATIENCE_S = 5.0
"""How long ops may take to put a deployment on its timeline: it may have been restarted by it."""


def deploy(options: Options, root: Path, service: str, version: str, environment: str, *, reason: str = "") -> "Report":
    """Deploys a release of the tree at `root`, past a NO only for a `reason`, and puts it on the timeline of ops.

    Raises as `compat.deploying.deploy` does.
    """
    from breakwater.compat import artifacts, deploying  # noqa: PLC0415
    from breakwater.compat.release import Forced  # noqa: PLC0415
    from breakwater.local.deployments import LocalTarget  # noqa: PLC0415

    target = LocalTarget(State.at(options.state))
    forced = Forced(getpass.getuser(), reason) if reason else None
    report = deploying.deploy(root, service, version, environment, target, forced=forced)
    past_a_no = report.exit_code() != 0
    if not past_a_no or reason:
        digest = artifacts.digest_of(root / "contracts", service, version)
        told = {"version": version, "digest": f"sha256:{digest}", "environment": environment}
        _tell_ops(options, service, told | ({"forced": reason} if past_a_no else {}))
    return report


def _tell_ops(options: Options, service: str, told: dict[str, str]) -> None:
    path = f"/v1/deployments/{quote(service, safe='')}"
    try:
        # With the local key, whose subject is who deploy/lock.yaml names.
        with Api(options, own_token=True) as api:
            api.request("PUT", path, ops=True, patience_s=OPS_PATIENCE_S, json=told)
    except CommandError as error:
        options.say(f"It runs, but is not on the timeline: {error.format_message()}")
