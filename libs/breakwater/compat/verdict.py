"""What the gate found, and how it is told: one line for people, JUnit and JSON for machines, an exit code for CI."""

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """The verdicts of contract-gate.md, worst last."""

    SAFE = "SAFE"
    NARROWED = "NARROWED"
    LOOSENED = "LOOSENED"
    UNVERIFIED = "UNVERIFIED"
    BREAKING = "BREAKING"
    GATE_FAILED = "GATE_FAILED"


SEVERITY = list(Verdict)
# NARROWED passes only where every consumer is known: not on the public API.
_EXIT_CODES = {Verdict.SAFE: 0, Verdict.NARROWED: 0, Verdict.GATE_FAILED: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a check found. `dimension` is what changed (proto, auth, ...), `cure` what to do about it."""

    verdict: Verdict
    dimension: str
    subject: str
    detail: str
    cure: str = ""
    public: bool = False
    """Whether consumers may exist that nobody here knows of: then NARROWED blocks as well."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check over one deployed release. `examined` counts what was looked at: zero is never a pass."""

    name: str
    examined: int
    findings: tuple[Finding, ...] = ()
    running: bool = False
    """Whether the candidate ran for it."""

    def verdict(self) -> Verdict:
        """The worst finding; UNVERIFIED when nothing was examined (fail closed)."""
        if self.findings:
            return max((finding.verdict for finding in self.findings), key=SEVERITY.index)
        return Verdict.SAFE if self.examined > 0 else Verdict.UNVERIFIED


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one run of the gate for one candidate service and environment."""

    service: str
    environment: str
    checks: tuple[CheckResult, ...] = field(default=())

    def verdict(self) -> Verdict:
        """The worst of the checks; UNVERIFIED without any."""
        if not self.checks:
            return Verdict.UNVERIFIED
        return max((check.verdict() for check in self.checks), key=SEVERITY.index)

    def exit_code(self) -> int:
        """0: may be deployed; 1: may not; 2: the gate itself failed, which blocks as well."""
        if self.verdict() is Verdict.NARROWED and any(each.public for check in self.checks for each in check.findings):
            return 1
        return _EXIT_CODES.get(self.verdict(), 1)

    def first_line(self) -> str:
        """The one line people read: dimension, subject and cure of the worst finding."""
        verdict = self.verdict()
        target = f"{self.service} -> {self.environment}"
        if self.exit_code() == 0:
            examined = sum(check.examined for check in self.checks)
            return f"YES: {target}. {verdict}; {len(self.checks)} checks, {examined} items examined."
        findings = [finding for check in self.checks for finding in check.findings]
        worst = max(findings, key=lambda finding: SEVERITY.index(finding.verdict), default=None)
        if worst is None:
            empty = ", ".join(check.name for check in self.checks if check.examined == 0) or "every check"
            return f"NO: {target}. {verdict}: nothing was examined by {empty}."
        cure = f" {worst.cure}" if worst.cure else ""
        return f"NO: {target}. {worst.verdict} {worst.dimension}: {worst.subject}: {worst.detail}.{cure}"

    def to_json(self) -> str:
        """The report as a JSON document, keys as the dataclasses name them, with `verdict` and `exit_code`."""
        document = asdict(self) | {"verdict": self.verdict(), "exit_code": self.exit_code(), "line": self.first_line()}
        return json.dumps(document, ensure_ascii=False, indent=2)

    def to_junit(self) -> ET.Element:
        """The report as a JUnit suite: a test case per check, failed unless it is SAFE or NARROWED."""
        suite = ET.Element("testsuite", name=f"gate {self.service} {self.environment}", tests=str(len(self.checks)))
        failures = 0
        for check in self.checks:
            case = ET.SubElement(suite, "testcase", name=check.name, classname=f"gate.{self.service}")
            if check.verdict() in {Verdict.SAFE, Verdict.NARROWED}:
                continue
            failures += 1
            text = "\n".join(f"{f.verdict} {f.dimension}: {f.subject}: {f.detail}" for f in check.findings)
            ET.SubElement(case, "failure", message=str(check.verdict())).text = text or "nothing was examined"
        suite.set("failures", str(failures))
        return suite
