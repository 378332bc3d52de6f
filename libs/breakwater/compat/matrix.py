"""Provider versions x consumer versions: each pair is verified once, kept under `contracts/verified/`, and looked up later.

A pair is verified on what both were recorded doing by really running (`interface.describe`): the consumer's credentials
inside of the provider's profile, its RPCs and fields in the provider's image, the events it takes in as the provider
publishes them. What was not verified is a NO (contract-gate.md, check 8).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from breakwater.compat import artifacts, interface, replay
from breakwater.compat.artifacts import ArtifactError, Release
from breakwater.compat.checks import auth, protos
from breakwater.compat.messages import Messages
from breakwater.compat.vectors import REJECT
from breakwater.compat.verdict import SEVERITY, CheckResult, Finding, Report, Verdict

DIMENSION = "matrix"
_WITHOUT = "without "
"""How the edit is named that leaves a header out."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A provider's release and a consumer's, by what identifies them: service, version, digest."""

    provider: tuple[str, str, str]
    consumer: tuple[str, str, str]

    @classmethod
    def of(cls, provider: Release, consumer: Release) -> "Pair":
        """The pair of two releases."""
        return cls(_identity(provider), _identity(consumer))


def pairs(release: Release, others: list[Release]) -> Iterator[tuple[Release, Release]]:
    """The release beside each other service's, as provider and as consumer."""
    for other in others:
        if other.service != release.service:
            yield release, other
            yield other, release


def verify(provider: Release, consumer: Release) -> CheckResult:
    """Judges one pair. Raises `ArtifactError` when a recording is not understood."""
    try:
        emitted = [
            each
            for each in interface.read_emits(consumer.directory / interface.EMITS)
            if each.provider == provider.service
        ]
        profile = interface.read_profile(provider.directory / interface.AUTH)
        checks = [
            _credentials(
                provider, consumer, auth.inside_profiles(emitted, [(provider.service, provider.version, profile)])
            ),
            protos.known_to_providers(emitted, {provider.service: [provider]}),
            _events(provider, consumer),
        ]
    except (ValueError, OSError) as error:
        names = f"{provider.service} {provider.version} and {consumer.service} {consumer.version}"
        raise ArtifactError(f"{names} cannot be compared: {error}") from error
    findings = tuple(finding for check in checks for finding in check.findings)
    return CheckResult(_name(provider, consumer), 1 + sum(check.examined for check in checks), findings)


def record(contracts: Path, service: str, version: str) -> Path:
    """Verifies a release beside every release of the other services and keeps what was found. Raises `ArtifactError`."""
    release = artifacts.find(contracts, service, version)
    others = [
        artifacts.find(contracts, name, each)
        for name in replay.SERVICES
        if name != service
        for each in artifacts.released(contracts, name)
    ]
    entries = []
    for provider, consumer in pairs(release, others):
        check = verify(provider, consumer)
        pair = Pair.of(provider, consumer)
        entries.append(
            {
                "provider": list(pair.provider),
                "consumer": list(pair.consumer),
                "examined": check.examined,
                "findings": [
                    {"verdict": f.verdict, "dimension": f.dimension, "subject": f.subject}
                    | {"detail": f.detail, "cure": f.cure}
                    for f in check.findings
                ],
            }
        )
    path = contracts / "verified" / service / f"{version}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n")
    return path


def may_deploy(contracts: Path, lock: Path, environment: str, service: str, version: str) -> Report:
    """Looks up a release beside all that runs in an environment, both ways. Raises `ArtifactError`."""
    release = artifacts.find(contracts, service, version)
    others = [
        each
        for name in replay.SERVICES
        if name != service
        for each in artifacts.deployed(contracts, lock, environment, name)
    ]
    known = _known(contracts, [release, *others])
    pin = artifacts.deployed(contracts, lock, environment, service)[0].version
    checks = []
    for provider, consumer in pairs(release, others):
        check = known.get(Pair.of(provider, consumer))
        if check is None:
            other = consumer if provider is release else provider
            detail = f"{_name(provider, consumer)} was never verified"
            cure = f"Run `breakwater can-deploy {service} {version} --verify`."
            finding = Finding(Verdict.UNVERIFIED, DIMENSION, f"{other.service} {other.version}", detail, cure)
            check = CheckResult(_name(provider, consumer), 0, (finding,))
        checks.append(replace(check, findings=tuple(_or_stay(finding, pin) for finding in check.findings)))
    return Report(f"{service} {version}", environment, tuple(checks))


def _credentials(provider: Release, consumer: Release, check: CheckResult) -> CheckResult:
    """Told of the consumer, whichever of the two is new."""
    subject = f"{consumer.service} {consumer.version}"
    cure = f"Have {provider.service} accept both meanwhile."
    return replace(
        check,
        findings=tuple(
            replace(each, subject=subject, detail=each.detail.removeprefix(f"{consumer.service} "), cure=cure)
            for each in check.findings
        ),
    )


def _or_stay(finding: Finding, pin: str) -> Finding:
    if finding.verdict is not Verdict.BREAKING:
        return finding
    return replace(finding, cure=f"{finding.cure.removesuffix('.').removesuffix(', or stay')}, or stay on {pin}.")


def _known(contracts: Path, releases: list[Release]) -> dict[Pair, CheckResult]:
    found: dict[Pair, CheckResult] = {}
    for release in releases:
        path = contracts / "verified" / release.service / f"{release.version}.json"
        if not path.is_file():
            continue
        try:
            for entry in json.loads(path.read_text()):
                pair = Pair(_read(entry["provider"]), _read(entry["consumer"]))
                findings = tuple(Finding(**each | {"verdict": Verdict(each["verdict"])}) for each in entry["findings"])
                name = f"{' '.join(pair.provider[:2])} for {' '.join(pair.consumer[:2])}"
                check = CheckResult(name, int(entry["examined"]), findings)
                # Both sides may have kept it: the worse of two results holds.
                before = found.get(pair, check)
                found[pair] = max(before, check, key=lambda each: SEVERITY.index(each.verdict()))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"contracts/verified/{release.service}/{release.version}.json is not understood"
            ) from error
    return found


def _read(identity: Any) -> tuple[str, str, str]:
    service, version, digest = identity
    return str(service), str(version), str(digest)


def _events(provider: Release, consumer: Release) -> CheckResult:
    """The events of the provider that the consumer takes in: published, with every header it needs, with every field it uses."""
    published = interface.read_events(provider.directory / interface.EVENTS).publishes
    taking = interface.read_events(consumer.directory / interface.EVENTS)
    image = Messages.of(provider.image)
    examined, found = 0, []
    subject = f"{consumer.service} {consumer.version}"
    cure = f"Publish it until {consumer.service} adapts."
    for event_type, consumed in taking.consumes.items():
        if event_type.split(".")[1] != provider.service:
            continue
        examined += 1
        event = published.get(event_type)
        if event is None:
            detail = f"takes in {event_type}, which {provider.service} {provider.version} does not publish"
            found.append(Finding(Verdict.BREAKING, "events", subject, detail, cure))
            continue
        labels = taking.takes.get(consumed.stream, {})
        edits = [edit for edit, label in labels.items() if label == REJECT and edit.startswith(_WITHOUT)]
        lost = [name for edit in edits if (name := edit.removeprefix(_WITHOUT)) not in event.headers]
        lost += [path for path in consumed.uses if not protos.has(image, event_type, path)]
        if event.subject.split(".")[1].upper() != consumed.stream:
            lost.append(f"its subject in {consumed.stream}")
        if lost:
            detail = f"needs {', '.join(lost)} of {event_type}, which {provider.service} {provider.version} publishes without"
            found.append(Finding(Verdict.BREAKING, "events", subject, detail, cure))
    return CheckResult("events", examined, tuple(found))


def _identity(release: Release) -> tuple[str, str, str]:
    return release.service, release.version, release.digest


def _name(provider: Release, consumer: Release) -> str:
    return f"{provider.service} {provider.version} for {consumer.service} {consumer.version}"
