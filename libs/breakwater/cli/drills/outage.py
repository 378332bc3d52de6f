"""The founding outage: a `files` release that reads its token elsewhere, stopped by the gate, and then forced past it.

It is made in a copy of the tree, whose `contracts/` and `deploy/lock.yaml` take what the drill releases and records: the tree
itself is only read. Only the running platform is switched, and switched back.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from breakwater.cli.deployments import deploy
from breakwater.cli.drills.faults import Check, Fault, uninterrupted
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options
from breakwater.local.errors import LocalPlatformError
from breakwater.local.state import State

if TYPE_CHECKING:
    from breakwater.compat.artifacts import Release

SERVICE, CONSUMER, DIMENSION = "files", "gateway", "auth"
ENVIRONMENT = "prod"
REASON = "breakwater drill jwt-outage"


@contextmanager
def reads_its_token_elsewhere(options: Options, root: Path) -> Iterator[Fault]:
    """The gate's NO and the refused deployment are shown before anybody calls; the fault is the forced one.

    Raises `CommandError` where the pin of `files` does not run here: then there would be no way back.
    """
    from breakwater.compat import artifacts, rehearsals  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="breakwater-drill-") as place:
        try:
            copy = rehearsals.copied(root, Path(place) / "tree")
            pin = artifacts.deployed(copy / "contracts", copy / "deploy" / "lock.yaml", ENVIRONMENT, SERVICE)[0]
            with _on_its_pin(options, copy, pin):
                shown = [_gate(options, copy), _refused(options, copy)]
                yield Fault(
                    begin=lambda _: shown.append(_force(options, copy)),
                    end=lambda: shown.append(_restore(options, copy, pin)),
                    shown=shown,
                )
        except artifacts.ArtifactError as error:
            raise CommandError(f"The release cannot be rehearsed: {error}.") from error


@contextmanager
def _on_its_pin(options: Options, copy: Path, pin: "Release") -> Iterator[None]:
    """The platform runs the pinned release meanwhile, and afterwards what it ran before: the pin as well, or the tree."""
    from breakwater.local.deployments import LocalTarget, code_of, folder_of  # noqa: PLC0415

    state = State.at(options.state)
    before = code_of(state, SERVICE)
    if before and before.name != folder_of(SERVICE, pin.version, pin.digest):
        raise CommandError(f"{before.name} runs, not the pin: `breakwater deploy {SERVICE} {pin.version}` first.")
    options.say(f"{SERVICE} {pin.version}, the pin, is deployed: there must be a way back.")
    try:
        _deploy(options, copy, pin.version)
        yield
    finally:
        if before is None:
            with uninterrupted():
                LocalTarget(state).withdraw(SERVICE)


def _gate(options: Options, copy: Path) -> Check:
    from breakwater.compat import gate, rehearsals  # noqa: PLC0415

    release = rehearsals.RELEASES[rehearsals.OUTAGE]
    options.say(f"{SERVICE} {rehearsals.OUTAGE} {release.says}: the gate looks at it, then it is released.")
    with rehearsals.changed(copy, rehearsals.OUTAGE):
        began_s = time.monotonic()
        report = gate.run(copy, SERVICE, ENVIRONMENT, whole=False)
        took_s = time.monotonic() - began_s
    rehearsals.write(copy, rehearsals.OUTAGE)
    line = report.first_line()
    named = f"{DIMENSION}: {CONSUMER}" in line
    return Check("the gate stops it", report.exit_code() == 1 and named, line, round(took_s, 2))


def _refused(options: Options, copy: Path) -> Check:
    from breakwater.compat import rehearsals  # noqa: PLC0415

    report = deploy(options, copy, SERVICE, rehearsals.OUTAGE, ENVIRONMENT)
    named = f"{DIMENSION}: {CONSUMER}" in report.first_line()
    return Check("deploy refuses it", report.exit_code() == 1 and named, report.first_line())


def _force(options: Options, copy: Path) -> Check:
    from breakwater.compat import rehearsals  # noqa: PLC0415

    said, took_s = _deploy(options, copy, rehearsals.OUTAGE, reason=REASON)
    return Check("forced past it", said.startswith("NO:"), f"{SERVICE} {rehearsals.OUTAGE} runs: {REASON}", took_s)


def _restore(options: Options, copy: Path, pin: "Release") -> Check:
    from breakwater.local.deployments import LocalTarget  # noqa: PLC0415

    try:
        said, took_s = _deploy(options, copy, pin.version)
    except (CommandError, LocalPlatformError):
        # Whatever kept it: the pin must run.
        LocalTarget(State.at(options.state)).switch(SERVICE, pin.version, pin.digest, pin.wheel)
        raise
    return Check("the pin is restored", said.startswith("YES:"), f"sha256:{pin.digest[:16]}: {said}", took_s)


def _deploy(options: Options, copy: Path, version: str, *, reason: str = "") -> tuple[str, float]:
    """What the matrix said, and the seconds until the release ran and its canary had passed. Raises `CommandError`."""
    from breakwater.compat.deploying import NotDeployedError  # noqa: PLC0415

    began_s = time.monotonic()
    try:
        report = deploy(options, copy, SERVICE, version, ENVIRONMENT, reason=reason)
    except NotDeployedError as error:
        raise CommandError(str(error)) from error
    if report.exit_code() != 0 and not reason:
        raise CommandError(report.first_line())
    return report.first_line(), round(time.monotonic() - began_s, 2)
