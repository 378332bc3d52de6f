"""The policies of a process's edges: figures from YAML, and what their failures mean to callers.

A service's `policies.yaml` names every dependency it calls (`edges:`); the chassis's own file gives what it leaves
out. From weak to strong: chassis `defaults`, service `defaults`, chassis `edges.NAME`, service `edges.NAME`.
"""

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from breakwater.chassis import errors, telemetry
from breakwater.chassis.clock import Clock
from breakwater.chassis.logging import get_logger
from breakwater.resilience import Outcome, PolicyError, PolicyRegistry
from breakwater.resilience.errors import (
    AttemptTimeoutError,
    BulkheadFullError,
    DeadlineExceededError,
    InjectedFaultError,
    InvalidPolicyError,
    OverloadedError,
)

WATCH_S = 1.0
"""How often the file is looked at; SIGHUP does not wait for it."""

_SECTIONS = frozenset({"defaults", "edges"})
_log = get_logger(__name__)


class CallFailedError(Exception):
    """An answered attempt that failed, on its way through the policy, which reads `outcome`.

    Only transports raise and catch it; services see `error`.
    """

    def __init__(self, error: errors.BreakwaterError, outcome: Outcome) -> None:
        super().__init__(error.detail)
        self.error = error
        self.outcome = outcome


class PolicyFile:
    """The policies of one process as its file declares them; taken anew, without a restart, when the file changes.

    A file that breaks a rule is refused as a whole: each error is logged and shown, and what was in force stays.
    """

    def __init__(
        self,
        caller: str,
        path: Path | None,
        *,
        clock: Clock,
        classifiers: Mapping[str, Callable[[BaseException], Outcome]],
        configured: Collection[str] = (),
    ) -> None:
        """`classifiers` by dependency, for those whose failures do not say themselves what they are. `configured` are
        dependencies that only some deployments have: an edge each, whether or not the file names it.

        Raises `InvalidPolicyError` naming every fault of the file.
        """
        self._path = path
        self._configured = configured
        self._clock = clock
        self._seen = self._stamp()
        self._own = self._read()
        self._chassis = _document(
            resources.files(__package__).joinpath("policies.yaml").read_text(encoding="utf-8"), "chassis"
        )
        self.registry = PolicyRegistry.from_mapping(
            caller,
            merged(self._own, self._chassis, configured),
            clock=clock,
            classifiers=classifiers,
            cohort=telemetry.cohort,
        )
        self.loaded_at = clock.now()
        self.refused: tuple[str, ...] = ()
        """What was wrong with a later file."""

    def reload(self) -> bool:
        """Reads the file again; False where it was refused."""
        try:
            own = self._read()
            changed = self.registry.reload(merged(own, self._chassis, self._configured))
        except InvalidPolicyError as error:
            self.refused = error.errors
            for each in error.errors:
                _log.error("policy_refused", file=str(self._path), problem=each)
            return False
        self._own, self.refused, self.loaded_at = own, (), self._clock.now()
        _log.info("policies_reloaded", edges_changed=list(changed))
        return True

    async def watch(self) -> None:
        """Reloads when the file changes or SIGHUP comes, for as long as it is awaited."""
        asked = asyncio.Event()
        with _on_hang_up(asked.set):
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_S):
                        await asked.wait()
                stamp = self._stamp()
                if asked.is_set() or stamp != self._seen:
                    asked.clear()
                    self._seen = stamp
                    self.reload()

    def origin_of(self, dependency: str, setting: str) -> str:
        """The strongest place that names the setting: such as `service edge`, `chassis defaults`, or `built-in`."""
        places = (
            ("service edge", self._own.get("edges", {}).get(dependency) or {}),
            ("chassis edge", self._chassis.get("edges", {}).get(dependency) or {}),
            ("service defaults", self._own.get("defaults", {})),
            ("chassis defaults", self._chassis.get("defaults", {})),
        )
        return next((name for name, values in places if setting in values), "built-in")

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            return _document(self._path.read_text(encoding="utf-8"), str(self._path))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidPolicyError((f"{self._path}: cannot be read: {type(error).__name__}",)) from error

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size) if found is not None else None


@contextmanager
def _on_hang_up(callback: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, callback)
    except (ValueError, RuntimeError):  # outside of the main thread, as in tests
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def merged(own: Mapping[str, Any], chassis: Mapping[str, Any], configured: Collection[str] = ()) -> dict[str, Any]:
    """One document with the edges of `own` and the `configured` ones, completed from `chassis`."""
    defaults = {**chassis.get("defaults", {}), **own.get("defaults", {})}
    known = chassis.get("edges", {})
    edges = {**dict.fromkeys(configured), **own.get("edges", {})}
    return {
        "defaults": defaults,
        "edges": {name: {**known.get(name, {}), **(edge or {})} for name, edge in edges.items()},
    }


def error_of_policy(error: PolicyError) -> errors.UnavailableError | errors.OverloadedError:
    """What a policy's refusal means to our own caller."""
    dependency, retry_after_s = error.dependency, error.retry_after_s
    if isinstance(error, DeadlineExceededError | AttemptTimeoutError):
        return errors.DeadlineExceededError(
            f"{dependency} did not answer in time.", dependency=dependency, retry_after_s=retry_after_s
        )
    if isinstance(error, BulkheadFullError | OverloadedError):
        return errors.OverloadedError(
            f"{dependency} is at its limit.", dependency=dependency, retry_after_s=retry_after_s
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
