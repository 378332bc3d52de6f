"""Puts a release where it runs: asked of the matrix first, back to the pin when it does not serve, written down when it does."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from breakwater.compat import artifacts, canary, matrix, release
from breakwater.compat.artifacts import Release
from breakwater.compat.replay import CALLER_OF
from breakwater.compat.verdict import Report, Verdict
from breakwater.local.errors import LocalPlatformError


class DeployTarget(Protocol):
    """Where services run: the local supervisor (`breakwater.local.deployments`), a cluster."""

    def switch(self, service: str, version: str, digest: str, wheel: Path) -> None:
        """Has the service run from `wheel`; returns when it serves. Raises LocalPlatformError when it does not."""
        ...

    def reach(self, service: str, caller: str) -> tuple[str, Mapping[str, str]]:
        """Where the service answers gRPC (host:port), and the private JWK its caller signs with."""
        ...


class NotDeployedError(Exception):
    """The release does not run; the text says why, and what runs instead."""


def deploy(
    root: Path, service: str, version: str, environment: str, target: DeployTarget, *, forced: str = ""
) -> Report:
    """Deploys a release when the matrix says yes, or for the reason given in `forced`, which is kept in deploy/lock.yaml.

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
        address, key = target.reach(service, CALLER_OF[service])
    except LocalPlatformError as error:
        _switch(target, pin)
        raise NotDeployedError(f"{service} {version} did not serve, {pin.version} runs again: {error}") from error
    seen = asyncio.run(canary.check(chosen, address, key))
    if seen.verdict() is not Verdict.SAFE:
        _switch(target, pin)
        said = seen.findings[0].detail if seen.findings else "nothing was examined"
        raise NotDeployedError(f"{service} {version} {said}; {pin.version} runs again")
    release.record(root, service, version, environment, forced=forced)
    return report


def _switch(target: DeployTarget, chosen: Release) -> None:
    target.switch(chosen.service, chosen.version, chosen.digest, chosen.wheel)
