"""Puts a release where it runs: asked of the matrix first, back to the pin when it does not serve, written down when it does."""

import asyncio
from pathlib import Path
from typing import Protocol

from breakwater.compat import artifacts, canary, matrix, release
from breakwater.compat.artifacts import Release
from breakwater.compat.release import Forced
from breakwater.compat.replay import CALLER_OF
from breakwater.compat.verdict import Report, Verdict
from breakwater.local.deployments import Reached
from breakwater.local.errors import LocalPlatformError


class DeployTarget(Protocol):
    """Where services run: the local supervisor (`breakwater.local.deployments`), a cluster."""

    def switch(self, service: str, version: str, digest: str, wheel: Path) -> None:
        """Has the service run from `wheel`; returns when it serves. Raises LocalPlatformError when it does not."""
        ...

    def reach(self, service: str, caller: str) -> Reached:
        """Where the service answers, and what `caller` signs with."""
        ...


class NotDeployedError(Exception):
    """The release does not run; the text says why, and what runs instead."""


def deploy(
    root: Path, service: str, version: str, environment: str, target: DeployTarget, *, forced: Forced | None = None
) -> Report:
    """Deploys a release when the matrix says yes, or past its NO as `forced`, which is then kept in deploy/lock.yaml.

    Answers the matrix's report; nothing was done when its exit code is not 0 and nothing was forced. Raises
    `ArtifactError`, and `NotDeployedError` when the release did not serve, or not as it did when it was
    released, and the pin was put back.
    """
    contracts, lock = root / "contracts", root / "deploy" / "lock.yaml"
    report = matrix.may_deploy(contracts, lock, environment, service, version)
    if report.exit_code() != 0 and not forced:
        return report
    chosen = artifacts.find(contracts, service, version)
    pin = artifacts.deployed(contracts, lock, environment, service)[0]
    try:
        _switch(target, chosen)
        reached = target.reach(service, CALLER_OF[service])
    except LocalPlatformError as error:
        _switch(target, pin)
        raise NotDeployedError(f"{service} {version} did not serve, {pin.version} runs again: {error}") from error
    seen = asyncio.run(canary.check(chosen, reached))
    if seen.verdict() is not Verdict.SAFE:
        _switch(target, pin)
        said = seen.findings[0].detail if seen.findings else "nothing was examined"
        raise NotDeployedError(f"{service} {version} {said}; {pin.version} runs again")
    release.record(root, service, version, environment, forced=forced if report.exit_code() != 0 else None)
    return report


def _switch(target: DeployTarget, chosen: Release) -> None:
    target.switch(chosen.service, chosen.version, chosen.digest, chosen.wheel)
