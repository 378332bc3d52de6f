"""One run of the gate: the candidate in a tree against every release of its service that is deployed.

The first version checks protos and the auth vectors of the verifier every service stands on; the other checks of
contract-gate.md are the gate's own issue.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from breakwater.compat import artifacts, protos, replay, vectors
from breakwater.compat.artifacts import ArtifactError
from breakwater.compat.verdict import CheckResult, Finding, Report, Verdict

SERVICES = tuple(replay.CALLERS)


def run(root: Path, service: str, environment: str) -> Report:
    """Checks the candidate `service` in the tree at `root`. Never raises for what it finds or lacks: that is the report."""
    try:
        checks = _checks(root, service, environment)
    except (ArtifactError, OSError, ValueError, RuntimeError) as error:
        # A gate that cannot look has failed, which blocks as well (contract-gate.md: fail closed).
        finding = Finding(Verdict.GATE_FAILED, "gate", service, str(error) or type(error).__name__)
        checks = [CheckResult("artifacts", 0, (finding,))]
    return Report(service, environment, tuple(checks))


def junit(reports: Sequence[Report]) -> str:
    """Several reports as one JUnit XML document."""
    suites = ET.Element("testsuites")
    suites.extend(report.to_junit() for report in reports)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True)


def _checks(root: Path, service: str, environment: str) -> list[CheckResult]:
    contracts = root / "contracts"
    releases = artifacts.deployed(contracts, root / "deploy" / "lock.yaml", environment, service)
    checks = [protos.lint(root / "proto")]
    for release in releases:
        checks.append(protos.breaking(root / "proto", service, release))
        checks.append(replay.check(service, release.version, vectors.load(release.vectors)))
    return checks
