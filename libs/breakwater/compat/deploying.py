"""Puts a release where it runs: asked of the matrix first, back to the pin when it does not serve, written down when it does."""

from pathlib import Path
from typing import Protocol

from breakwater.compat import artifacts, matrix, release
from breakwater.compat.artifacts import Release
from breakwater.compat.verdict import Report
from breakwater.local.errors import LocalPlatformError


class DeployTarget(Protocol):
    """Where services run: the local supervisor (`breakwater.local.deployments`), a cluster."""

    def switch(self, service: str, version: str, digest: str, wheel: Path) -> None:
        """Has the service run from `wheel`; returns when it serves. Raises LocalPlatformError when it does not."""
        ...


class NotDeployedError(Exception):
    """The release does not run; the text says why, and what runs instead."""


def deploy(
    root: Path, service: str, version: str, environment: str, target: DeployTarget, *, forced: str = ""
) -> Report:
    """Deploys a release when the matrix says yes, or for the reason given in `forced`, which is kept in deploy/lock.yaml.

    Answers the matrix's report; nothing was done when its exit code is not 0 and nothing was forced. Raises
    `ArtifactError`, and `NotDeployedError` when the release did not serve and the pin was put back.
    """
    contracts, lock = root / "contracts", root / "deploy" / "lock.yaml"
    report = matrix.may_deploy(contracts, lock, environment, service, version)
    if report.exit_code() != 0 and not forced:
        return report
    chosen = artifacts.find(contracts, service, version)
    pin = artifacts.deployed(contracts, lock, environment, service)[0]
    try:
        _switch(target, chosen)
    except LocalPlatformError as error:
        _switch(target, pin)
        raise NotDeployedError(f"{service} {version} did not serve, {pin.version} runs again: {error}") from error
    release.record(root, service, version, environment, forced=forced)
    return report


def _switch(target: DeployTarget, chosen: Release) -> None:
    target.switch(chosen.service, chosen.version, chosen.digest, chosen.wheel)
