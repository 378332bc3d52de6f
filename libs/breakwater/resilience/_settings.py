"""The settings of one edge, read from a mapping (a service's `policies.yaml`) and checked as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Final, Self

from breakwater.resilience.errors import InvalidPolicyError


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
    retry_budget_ratio: float = 0.095
    """Retries allowed for each call, measured when the call is admitted.

    A little below a tenth: with what quiet times have saved up, a minute of failures at 100/s is still within 1.1 x.
    """
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
    slow_call_s: float = 0.5
    """An attempt longer than this is slow; a shorter one that its caller's deadline cut off counts for nothing."""
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
        if errors := _broken_rules(self):
            raise InvalidPolicyError(errors)

    @classmethod
    def from_mapping(cls, caller: str, dependency: str, values: Mapping[str, Any]) -> Self:
        """Settings from a parsed document; raises `InvalidPolicyError` for unknown names and wrong types as well."""
        errors, fitting = [], {}
        for name, value in values.items():
            wanted = _KINDS.get(name)
            if wanted is None:
                errors.append(f"{caller} -> {dependency}.{name}: unknown setting")
            elif not _fits(value, wanted):
                errors.append(f"{caller} -> {dependency}.{name}: must be {_NAMES_OF_KINDS[wanted]}, not {value!r}")
            else:
                fitting[name] = wanted(value)
        try:
            settings = cls(caller=caller, dependency=dependency, **fitting)
        except InvalidPolicyError as broken:
            raise InvalidPolicyError((*errors, *broken.errors)) from None
        if errors:
            raise InvalidPolicyError(tuple(errors))
        return settings


_KINDS: Final[Mapping[str, type]] = {
    field.name: field.type
    for field in fields(PolicySettings)
    if field.name not in {"caller", "dependency"} and isinstance(field.type, type)
}
_NAMES_OF_KINDS: Final[Mapping[type, str]] = {float: "a number", int: "a whole number", bool: "true or false"}

_POSITIVE: Final = (
    "attempt_timeout_s", "stream_s_max", "attempts_max", "retry_s_max", "backoff_s", "concurrency_max",
    "queue_wait_s_max", "calls_min", "slow_call_s", "open_s", "probes",
)  # fmt: skip
_NOT_NEGATIVE: Final = ("retry_budget_ratio", "retry_budget_floor_per_s", "queue_max")
_SHARES: Final = ("error_rate_max", "slow_rate_max")
_AT_LEAST: Final = (
    ("backoff_s_max", "backoff_s"),
    ("calls_enough", "calls_min"),
    ("attempt_timeout_s", "slow_call_s"),
    ("open_s_max", "open_s"),
    # A shorter lease would lend the permit of a probe that is still under way.
    ("probe_lease_s", "attempt_timeout_s"),
)
_RETRY_BUDGET_RATIO_MAX: Final = 1.0


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int) or (kind is float and isinstance(value, float) and isfinite(value))


def _broken_rules(settings: PolicySettings) -> tuple[str, ...]:
    def number(name: str) -> float:
        value: float = getattr(settings, name)
        return value

    edge = f"{settings.caller} -> {settings.dependency}"
    errors = [f"{edge}.{name}: must not be empty" for name in ("caller", "dependency") if not getattr(settings, name)]
    errors += [f"{edge}.{name}: must be above 0" for name in _POSITIVE if number(name) <= 0]
    errors += [f"{edge}.{name}: must not be negative" for name in _NOT_NEGATIVE if number(name) < 0]
    errors += [f"{edge}.{name}: must be above 0 and at most 1" for name in _SHARES if not 0 < number(name) <= 1]
    errors += [
        f"{edge}.{name}: must be at least {least} ({number(least):g})"
        for name, least in _AT_LEAST
        if number(name) < number(least)
    ]
    if settings.retry_budget_ratio > _RETRY_BUDGET_RATIO_MAX:
        errors.append(f"{edge}.retry_budget_ratio: must be at most {_RETRY_BUDGET_RATIO_MAX:g}")
    if settings.retry_budget_tokens_max < 1:
        errors.append(f"{edge}.retry_budget_tokens_max: must be at least 1")
    if settings.window_s < 1:
        errors.append(f"{edge}.window_s: must be at least 1")
    return tuple(errors)
