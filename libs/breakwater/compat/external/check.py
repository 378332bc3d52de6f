"""What a provider answers beside what was recorded of it, as findings. Fails closed: nothing asked is nothing shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from breakwater.compat.artifacts import ArtifactError
from breakwater.compat.external import recorded
from breakwater.compat.external.http import SIGNS
from breakwater.compat.external.recorded import PROVIDERS, Contract, Vector
from breakwater.compat.verdict import CheckResult, Finding, Verdict

DIMENSION = "external"
MEANINGS = {"", "ok", "later", "permanent", "unknown"}
_MEANINGS_OF = {"finance": {"valid", "invalid"}}
_CURE = "Mend the stub; where the provider itself changed, record its answers as the contract's next version."


class Provider(Protocol):
    """Whoever answers: a stub, a live service, a store."""

    @property
    def live(self) -> bool:
        """Whether only what is harmless may be asked."""
        ...

    async def answer(self, vector: Vector) -> dict[str, Any]:
        """What it answers to a vector; raises whatever stops it."""
        ...


async def held(contract: Contract, provider: Provider) -> CheckResult:
    """Every vector that can be asked of the provider: a difference, or no answer at all, is BREAKING."""
    findings = []
    vectors = [each for each in contract.vectors if each.asked and (each.live or not provider.live)]
    for vector in vectors:
        try:
            problem = next(differences(vector.answer, await provider.answer(vector)), None)
        except Exception as error:  # noqa: BLE001 - whatever a provider does, not answering is what was found
            problem = f"no answer: {str(error) or type(error).__name__}"
        if problem is not None:
            findings.append(_finding(contract, f"{vector.id}: {problem}"))
    return CheckResult(f"{contract.provider} {contract.version} as recorded", len(vectors), tuple(findings))


def whole(root: Path) -> CheckResult:
    """Every provider's vectors are in the tree at `root`, as pinned, and agree with themselves."""
    examined, findings = 0, []
    for provider in PROVIDERS:
        try:
            contract = recorded.load(root, provider)
            contract.live()
        except ArtifactError as error:
            findings.append(Finding(Verdict.UNVERIFIED, DIMENSION, provider, str(error), "Restore contracts/external."))
            continue
        examined += len(contract.vectors)
        findings += [
            _finding(contract, problem) for vector in contract.vectors for problem in _inconsistent(vector, provider)
        ]
    return CheckResult("contracts of external providers", examined, tuple(findings))


def differences(expected: Any, actual: Any, path: str = "the answer") -> Iterator[str]:
    """Where `actual` is not what was recorded. A provider may say more than that; `$not` and `$in` leave it a choice."""
    match expected:
        case {"$not": value}:
            if actual is None or (type(actual) is type(value) and actual == value):
                yield f"{path} is {actual!r}, which it must not be"
        case {"$in": values}:
            if all(next(differences(value, actual, path), None) for value in values):
                yield f"{path} is {actual!r}, none of {values}"
        case dict():
            if not isinstance(actual, dict):
                yield f"{path} is {actual!r}, not an object"
                return
            for name, value in expected.items():
                yield from differences(value, actual.get(name), f"{path}.{name}")
        case _:
            # True equals 1 and 0 equals 0.0 in Python; on the wire they differ.
            if type(actual) is not type(expected) or actual != expected:
                yield f"{path} is {actual!r}, not {expected!r}"


def _inconsistent(vector: Vector, provider: str) -> Iterator[str]:
    if vector.means not in MEANINGS | _MEANINGS_OF.get(provider, set()):
        yield f"{vector.id}: it means {vector.means}, which is nothing known"
    if not vector.asked and vector.signed is None and not vector.means:
        yield f"{vector.id}: it is neither asked nor read"
    if vector.signed is not None:
        sign = SIGNS[provider](vector.signed["time"], vector.signed["secret"])
        yield from (f"{vector.id}: {problem}" for problem in differences(vector.answer, {"sign": sign}))


def _finding(contract: Contract, detail: str) -> Finding:
    return Finding(Verdict.BREAKING, DIMENSION, f"{contract.provider} {contract.version}", detail, _CURE)
