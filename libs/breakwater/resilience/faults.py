"""A fault that an override injects into an edge: what happens, to how many attempts, and who is spared."""

import random
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from math import exp, isfinite, log
from typing import Final

from breakwater.resilience.errors import InvalidPolicyError

# The standard normal distribution's 99th percentile: with it p50 and p99 tell a log-normal one.
_Z99: Final = 2.3263478740408408
_DELAY_S_MAX: Final = 300.0
_CODE_CHARS_MAX: Final = 40


class FaultKind(StrEnum):
    """What happens to an attempt. To the layers outside of it, it is the dependency's doing."""

    LATENCY = "latency"
    """The attempt reaches the dependency late; what is left of its timeout is all it has."""
    ERROR = "error"
    """The attempt fails with `code`: the transport's own error where the transport knows it."""
    HANG = "hang"
    """No answer, and the dependency is not reached; the attempt timeout ends it."""
    RESET = "reset"
    """`ConnectionResetError`; the dependency is not reached."""
    SLOW_BODY = "slow-body"
    """The answer comes late, message by message where it has several; what was asked for is done."""
    CREDENTIAL = "credential"
    """Our credential is refused: really sent broken where the transport can, told as such elsewhere."""


_DELAYED: Final = frozenset({FaultKind.LATENCY, FaultKind.SLOW_BODY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault; raises `InvalidPolicyError` naming every field that is wrong as `fault.field: reason`."""

    kind: FaultKind
    share: float = 1.0
    """Share of the attempts it happens to, the control group left out."""
    control_share: float = 0.0
    """Share of the requests it never happens to, on none of their hops: the group to compare with."""
    latency_p50_s: float | None = None
    """Half of the delays are shorter; of `latency` and `slow-body` only, which need it."""
    latency_p99_s: float | None = None
    """One delay in a hundred is longer (log-normal); None: every delay is `latency_p50_s`."""
    latency_s_max: float = 30.0
    """No delay is longer."""
    code: str = ""
    """Of `error` only, which needs it: the transport's code, such as gRPC's UNAVAILABLE or an SQLSTATE."""

    def __post_init__(self) -> None:
        """Raises `InvalidPolicyError` with every rule that is broken."""
        if errors := _broken_rules(self):
            raise InvalidPolicyError(errors)

    def __str__(self) -> str:
        what = str(self.kind)
        if self.latency_p50_s is not None:
            tail = "" if self.latency_p99_s is None else f", p99 {self.latency_p99_s:g} s"
            what += f" p50 {self.latency_p50_s:g} s{tail}"
        if self.code:
            what += f" {self.code}"
        spared = f", {self.control_share:.0%} of requests spared" if self.control_share else ""
        return f"{what} for {self.share:.0%} of attempts{spared}"

    def delay_s(self, rng: random.Random) -> float:
        """One delay of the distribution, in seconds."""
        p50_s = self.latency_p50_s or 0.0
        if self.latency_p99_s is not None:
            p50_s *= exp(rng.gauss(0.0, 1.0) * log(self.latency_p99_s / p50_s) / _Z99)
        return min(p50_s, self.latency_s_max)


current_fault: ContextVar[Fault | None] = ContextVar("current_fault", default=None)
"""The fault that the transport of this attempt has to commit itself (`Policy.chaos.transport_commits`)."""


def _broken_rules(fault: Fault) -> tuple[str, ...]:
    delayed = fault.kind in _DELAYED
    p50_s, p99_s = fault.latency_p50_s, fault.latency_p99_s
    rules = (
        ("share", "must be above 0 and at most 1", 0 < fault.share <= 1),
        ("control_share", "must be at least 0 and below 1", 0 <= fault.control_share < 1),
        ("latency_p50_s", f"{fault.kind} needs it", p50_s is not None or not delayed),
        ("latency_p50_s", "must be above 0", p50_s is None or (isfinite(p50_s) and p50_s > 0)),
        ("latency_p50_s", f"means nothing to {fault.kind}", p50_s is None or delayed),
        ("latency_p99_s", f"means nothing to {fault.kind}", p99_s is None or delayed),
        (
            "latency_p99_s",
            "must be at least latency_p50_s",
            p99_s is None or (isfinite(p99_s) and p99_s >= (p50_s or 0)),
        ),
        ("latency_s_max", f"must be above 0 and at most {_DELAY_S_MAX:g}", 0 < fault.latency_s_max <= _DELAY_S_MAX),
        ("code", "error needs it", bool(fault.code) or fault.kind is not FaultKind.ERROR),
        ("code", f"means nothing to {fault.kind}", not fault.code or fault.kind is FaultKind.ERROR),
        ("code", f"must be at most {_CODE_CHARS_MAX} letters, digits and underscores", _is_code(fault.code)),
    )
    return tuple(f"fault.{field}: {reason}" for field, reason, kept in rules if not kept)


def _is_code(code: str) -> bool:
    return len(code) <= _CODE_CHARS_MAX and (not code or (code.isascii() and code.replace("_", "a").isalnum()))
