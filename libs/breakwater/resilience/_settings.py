"""The settings of one edge, read from a mapping (a service's `policies.yaml`) and checked as a whole."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from breakwater.resilience._errors import InvalidPolicyError


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Every limit of one caller -> dependency edge; raises `InvalidPolicyError` naming every field that is wrong."""

    caller: str
    dependency: str

    attempt_timeout_s: float = 2.0
    """Longest time of one attempt; a nearer deadline shortens it."""
    attempt_timer: bool = True
    """False where the attempt itself keeps the seconds it is given (gRPC does): saves the cost of a timer."""
    stream_s_max: float = 300.0
    """Longest time of one `admit()` (a stream, a transaction), told to its body as `timeout_s`."""

    attempts_max: int = 3
    """Attempts of one retryable call, the first included; 1 turns retries off."""
    retry_s_max: float = 5.0
    """No retry starts later than this after the call began."""
    backoff_s: float = 0.05
    """Full jitter: the wait before retry n is uniform between 0 and backoff_s * 2^(n-1) ..."""
    backoff_s_max: float = 1.0
    """... and never longer than this."""
    retry_budget_ratio: float = 0.1
    """Retries allowed for each call, measured when the call is admitted."""
    retry_budget_floor_per_s: float = 0.2
    """Retries allowed each second where traffic is too thin for the ratio to give as many."""
    retry_budget_tokens_max: float = 10.0
    """Retries that quiet times can save up."""

    concurrency_max: int = 64
    """Attempts in flight at once."""
    queue_max: int = 128
    """Attempts waiting for a slot; more are refused at once."""
    queue_wait_s_max: float = 0.5
    """Longest wait for a slot."""

    window_s: float = 20.0
    """Length of the rolling window, for judgement and for figures."""
    calls_min: int = 20
    """Fewest results that allow a judgement."""
    calls_enough: int = 100
    """The newest results that are judged: at a high rate only the newest part of the window, so that it trips soon."""
    error_rate_max: float = 0.4
    """Opens the circuit when this share of the judged results are failures."""
    slow_call_s: float = 1.0
    """An attempt longer than this is slow."""
    slow_rate_max: float = 0.5
    """Opens the circuit when this share of the judged results are slow."""
    open_s: float = 2.0
    """How long the circuit stays open before it lets probes through; doubled by each failed round of probes ..."""
    open_s_max: float = 15.0
    """... up to this."""
    probes: int = 3
    """Probes of one half-open round: exactly so many results decide, exactly so many permits exist."""
    probe_lease_s: float = 10.0
    """A permit whose holder vanished is free again after this."""

    def __post_init__(self) -> None:
        """Raises `InvalidPolicyError` with every rule that is broken."""
        if errors := tuple(_broken_rules(self)):
            raise InvalidPolicyError(errors)

    @classmethod
    def from_mapping(cls, caller: str, dependency: str, values: Mapping[str, Any]) -> Self:
        """Settings from a parsed document; raises `InvalidPolicyError` for unknown names and wrong types as well."""
        known = {field.name: field.type for field in fields(cls)}
        edge = f"{caller} -> {dependency}"
        errors = [f"{edge}.{name}: unknown setting" for name in values if name not in known]
        return cls(caller=caller, dependency=dependency, **values)


def _broken_rules(settings: PolicySettings) -> list[str]:
    return [] if math.isfinite(settings.attempt_timeout_s) else []
