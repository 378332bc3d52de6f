"""Deploying on the local platform, shared by `deploy` and the drill of the outage."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from breakwater.cli.options import Options
from breakwater.local.state import State

if TYPE_CHECKING:
    from breakwater.compat.verdict import Report


def deploy(options: Options, root: Path, service: str, version: str, environment: str, *, reason: str = "") -> "Report":
    """Deploys a release of the tree at `root`, past a NO only for a `reason`. Raises as `compat.deploying.deploy` does."""
    from breakwater.compat import deploying  # noqa: PLC0415
    from breakwater.compat.release import Forced  # noqa: PLC0415
    from breakwater.local.deployments import LocalTarget  # noqa: PLC0415

    target = LocalTarget(State.at(options.state))
    forced = Forced(getpass.getuser(), reason) if reason else None
    return deploying.deploy(root, service, version, environment, target, forced=forced)
