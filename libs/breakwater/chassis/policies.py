"""The policies of a process's edges: figures from YAML, and what their failures mean to callers.

A service's `policies.yaml` names every dependency it calls (`edges:`); the chassis's own file gives what it leaves
out. From weak to strong: chassis `defaults`, service `defaults`, chassis `edges.NAME`, service `edges.NAME`.
"""

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from breakwater.chassis import errors
from breakwater.chassis.clock import Clock
from breakwater.resilience import (
    AttemptTimeoutError,
    BulkheadFullError,
    DeadlineExceededError,
    InjectedFaultError,
    InvalidPolicyError,
    Outcome,
    OverloadedError,
    PolicyError,
    PolicyRegistry,
)

_SECTIONS = frozenset({"defaults", "edges"})


class CallFailedError(Exception):
    """An answered attempt that failed, on its way through the policy, which reads `outcome`.

    Only transports raise and catch it; services see `error`.
    """

    def __init__(self, error: errors.BreakwaterError, outcome: Outcome) -> None:
        super().__init__(error.detail)
        self.error = error
        self.outcome = outcome


def load(
    caller: str, path: Path | None, *, clock: Clock, classifiers: Mapping[str, Callable[[BaseException], Outcome]]
) -> PolicyRegistry:
    """The policies of `caller`; `classifiers` by dependency, for those whose failures do not say themselves what they
    are.

    Raises `InvalidPolicyError` naming every fault of the file.
    """
    own = _document(path.read_text(encoding="utf-8"), str(path)) if path is not None else {}
    chassis = _document(resources.files(__package__).joinpath("policies.yaml").read_text(encoding="utf-8"), "chassis")
    return PolicyRegistry.from_mapping(caller, merged(own, chassis), clock=clock, classifiers=classifiers)


def merged(own: Mapping[str, Any], chassis: Mapping[str, Any]) -> dict[str, Any]:
    """One document with the edges of `own`, completed from `chassis`."""
    defaults = {**chassis.get("defaults", {}), **own.get("defaults", {})}
    known = chassis.get("edges", {})
    return {
        "defaults": defaults,
        "edges": {name: {**known.get(name, {}), **(edge or {})} for name, edge in own.get("edges", {}).items()},
    }


def error_of_policy(error: PolicyError) -> errors.UnavailableError | errors.RateLimitedError:
    """What a policy's refusal means to our own caller."""
    dependency, retry_after_s = error.dependency, error.retry_after_s
    if isinstance(error, DeadlineExceededError | AttemptTimeoutError):
        return errors.DeadlineExceededError(
            f"{dependency} did not answer in time.", dependency=dependency, retry_after_s=retry_after_s
        )
    if isinstance(error, BulkheadFullError | OverloadedError):
        return errors.RateLimitedError(
            f"{dependency} is at its limit.", code="overloaded", dependency=dependency, retry_after_s=retry_after_s
        )
    if isinstance(error, InjectedFaultError):
        return _error_of_fault(error)
    return errors.UnavailableError(
        f"{dependency} is out; it is not called until it recovers.",
        code="circuit_open",
        dependency=dependency,
        retry_after_s=retry_after_s,
    )


def error_of(error: Exception) -> errors.BreakwaterError:
    """What a service is told of a failed call, whatever the transport."""
    if isinstance(error, CallFailedError):
        return error.error
    if isinstance(error, PolicyError):
        return error_of_policy(error)
    return errors.InternalError("internal error")


def _error_of_fault(error: InjectedFaultError) -> errors.UnavailableError:
    # A drill must look like the fault it rehearses.
    if error.outcome is Outcome.AUTH_REJECTED:
        detail = f"{error.dependency} does not accept this service's credential."
        return errors.DependencyAuthError(detail, dependency=error.dependency)
    detail = f"{error.dependency} could not do it."
    return errors.UnavailableError(detail, code="dependency_failed", dependency=error.dependency)


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InvalidPolicyError((f"{source}: is no YAML: {error}",)) from error
    if not isinstance(document, dict) or not set(document) <= _SECTIONS:
        raise InvalidPolicyError((f"{source}: must be a mapping of {sorted(_SECTIONS)}",))
    sections = {name: section or {} for name, section in document.items()}
    if not all(isinstance(section, dict) for section in sections.values()):
        raise InvalidPolicyError((f"{source}: defaults and edges must be mappings",))
    if not all(isinstance(edge, dict | None) for edge in sections.get("edges", {}).values()):
        raise InvalidPolicyError((f"{source}: each edge must be a mapping",))
    return sections
