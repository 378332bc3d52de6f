"""The drills there are: the fault, who is called meanwhile, and the steady state that must hold."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from breakwater.cli.drills.load import CONSOLE, EXPORTS, LEADS, NOTIFICATIONS, Load
from breakwater.cli.options import Options
from breakwater.cli.overriding import lay, lift
from breakwater.local import control
from breakwater.local.state import State

SLOW_FILES_S = 3.0
"""Longer than the gateway gives a claim, so that callers are not made to wait for it."""
_OVERRIDE_SPARE_S = 60
"""An override outlives its drill by this at most, whatever becomes of the drill's process."""


class Degraded(StrEnum):
    """Lesser answers in the steady state of a drill."""

    NEVER = "never"
    POSSIBLE = "possible"
    EXPECTED = "expected"
    """Without any the fault was none."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is done to the platform, and undone."""

    begin: Callable[[Options, int], None]
    """Given the seconds it will last."""
    end: Callable[[Options], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """One drill. Loads are called before, during and after; the control group must not notice the fault."""

    name: str
    says: str
    dependency: str
    fault: Fault
    affected: tuple[Load, ...]
    control: tuple[Load, ...]
    callers: frozenset[str]
    """Whose edges to the dependency the affected loads go over."""
    degraded: Degraded = Degraded.NEVER
    """Whether callers of the affected loads get lesser answers, which whole ones follow."""
    errors_allowed: bool = False
    """Calls may fail, at once and with a status that says so, until the fault is over."""
    brief: bool = False
    """It is over when it has begun: a restart."""
    detect_s_max: float = 10.0
    recover_s_max: float = 30.0


def _stopped(name: str) -> Fault:
    """A process that is down, and stays down until it is started."""
    return Fault(
        begin=lambda options, _: _ask(options, "stop", name),
        end=lambda options: _ask(options, "start", name),
    )


def _restarted(name: str) -> Fault:
    """A process that is stopped and started in one go; to end it is to see that it runs."""
    return Fault(
        begin=lambda options, _: _ask(options, "restart", name),
        end=lambda options: _ask(options, "start", name),
    )


def _slow(dependency: str, caller: str, delay_s: float) -> Fault:
    """Every attempt of one edge is late."""

    def begin(options: Options, lasts_s: int) -> None:
        lay(
            options,
            dependency,
            mode="chaos",
            caller=caller,
            reason=f"breakwater drill: {dependency} slow",
            ttl_s=lasts_s + _OVERRIDE_SPARE_S,
            fault={"kind": "latency", "latency_p50_s": delay_s},
        )

    def end(options: Options) -> None:
        lift(options, dependency, caller=caller)

    return Fault(begin, end)


def _ask(options: Options, action: str, name: str) -> None:
    control.ask(State.at(options.state).control_socket, action, name)


PLANS = {
    plan.name: plan
    for plan in (
        Plan(
            "files-down",
            "files is stopped: exports are made by the gateway's own engine, and full files follow",
            "files",
            _stopped("files"),
            affected=(EXPORTS,),
            control=(LEADS, CONSOLE),
            callers=frozenset({"gateway"}),
            degraded=Degraded.EXPECTED,
        ),
        Plan(
            "slow-files",
            f"files answers the gateway {SLOW_FILES_S:g} s late: it takes exports from their events, or the gateway makes them",
            "files",
            _slow("files", "gateway", SLOW_FILES_S),
            affected=(EXPORTS,),
            control=(LEADS, CONSOLE),
            callers=frozenset({"gateway"}),
            degraded=Degraded.POSSIBLE,
        ),
        Plan(
            "nats-down",
            "NATS is stopped: events wait in the outboxes, what is asked is answered",
            "nats",
            _stopped("nats"),
            affected=(EXPORTS, NOTIFICATIONS),
            control=(LEADS, CONSOLE),
            callers=frozenset({"gateway"}),
        ),
        Plan(
            "postgres-restart",
            "PostgreSQL is restarted: calls fail at once while it is away, and work again without a restart of theirs",
            "postgres",
            _restarted("postgres"),
            affected=(LEADS, NOTIFICATIONS),
            control=(CONSOLE,),
            callers=frozenset({"leads", "notify"}),
            errors_allowed=True,
            brief=True,
        ),
    )
}
"""By name (api.md, `breakwater drill`)."""
