"""The drills there are: the fault, who is called meanwhile, and the steady state that must hold."""

from dataclasses import dataclass
from enum import StrEnum

from breakwater.cli.drills.faults import Prepare, restarted, slow, stopped
from breakwater.cli.drills.load import CONSOLE, DOWNLOADS, EXPORTS, LEADS, NOTIFICATIONS, Load
from breakwater.cli.drills.outage import reads_its_token_elsewhere

SLOW_FILES_S = 3.0
"""Longer than the gateway gives a claim, so that callers are not made to wait for it."""


UNTIL_ALARM_S = 45
"""A circuit judges a minute of calls, and six in ten must be bad: so long it takes after a minute in which all was well."""


class Degraded(StrEnum):
    """Lesser answers in the steady state of a drill."""

    NEVER = "never"
    EXPECTED = "expected"
    """Without any the fault was none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One drill. Loads are called before, during and after; the control group must not notice the fault."""

    name: str
    says: str
    dependency: str
    fault: Prepare
    affected: tuple[Load, ...]
    control: tuple[Load, ...]
    callers: frozenset[str]
    """Whose edges to the dependency the affected loads go over."""
    degraded: Degraded = Degraded.NEVER
    """Whether callers of the affected loads get lesser answers, which whole ones follow."""
    may_fail: tuple[Load, ...] = ()
    """Whose calls may fail, at once and with a status that says so, until the fault is over."""
    alarm: bool = False
    """It lasts long enough for the circuit to open, which opens an incident."""
    brief: bool = False
    """It is over when it has begun: a restart."""
    lasts_s: int = 15
    """Unless it is told otherwise."""
    detect_s_max: float = 10.0
    recover_s_max: float = 30.0


PLANS = {
    plan.name: plan
    for plan in (
        Plan(
            "jwt-outage",
            "a files release that reads its token elsewhere is stopped by the gate, and then forced past it: exports are"
            " made by the gateway's own engine, downloads cannot go on until the pin runs again, and none is lost",
            "files",
            reads_its_token_elsewhere,
            affected=(EXPORTS, DOWNLOADS),
            control=(LEADS, CONSOLE),
            callers=frozenset({"gateway"}),
            degraded=Degraded.EXPECTED,
            may_fail=(DOWNLOADS,),
            alarm=True,
            lasts_s=UNTIL_ALARM_S,
        ),
        Plan(
            "files-down",
            "files is stopped: exports are made by the gateway's own engine, and full files follow",
            "files",
            stopped("files"),
            affected=(EXPORTS,),
            control=(LEADS, CONSOLE),
            callers=frozenset({"gateway"}),
            degraded=Degraded.EXPECTED,
        ),
        Plan(
            "slow-files",
            f"files does everything {SLOW_FILES_S:g} s late, and fails at nothing: its circuit opens all the same, exports are"
            " made by the gateway's own engine, and full files follow",
            "files",
            # Its answers, and what it does by itself: an export comes to it by an event too, for which it needs its database.
            slow(SLOW_FILES_S, ("gateway", "files"), ("files", "postgres")),
            affected=(EXPORTS,),
            control=(LEADS, CONSOLE),
            callers=frozenset({"gateway"}),
            degraded=Degraded.EXPECTED,
            alarm=True,
            lasts_s=UNTIL_ALARM_S,
        ),
        Plan(
            "nats-down",
            "NATS is stopped: events wait in the outboxes, what is asked is answered",
            "nats",
            stopped("nats"),
            affected=(EXPORTS, NOTIFICATIONS),
            control=(LEADS, CONSOLE),
            callers=frozenset({"gateway"}),
        ),
        Plan(
            "postgres-restart",
            "PostgreSQL is restarted: calls fail at once while it is away, and work again without a restart of theirs",
            "postgres",
            restarted("postgres"),
            affected=(LEADS, NOTIFICATIONS),
            control=(CONSOLE,),
            callers=frozenset({"leads", "notify"}),
            may_fail=(LEADS, NOTIFICATIONS),
            brief=True,
        ),
    )
}
"""By name (api.md, `breakwater drill`)."""
