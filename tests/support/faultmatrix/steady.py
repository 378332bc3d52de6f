"""The steady state of every edge under every fault, stated before it is measured.

What holds in every cell whatever the fault: no caller waits past its deadline, what was acknowledged is there afterwards
and nothing is there twice, and when the fault ends the circuit closes by itself within the edge's recovery time.
"""

from dataclasses import dataclass
from enum import StrEnum

from breakwater.resilience import faults as chaos
from tests.support import faultproxy
from tests.support.faultproxy import FAULTS, Fault

INJECTED = "injected "
FAULT_NAMES = (*(fault.name for fault in FAULTS), *(f"{INJECTED}{kind}" for kind in chaos.FaultKind))
"""Every fault there is: those of the proxy, below our code, and those an override injects."""

SLACK_S = 0.5
"""How far past its deadline a caller may be told: the loop's own delays are measured and added."""


class Callers(StrEnum):
    """What callers get while the fault holds and the circuit is still closed."""

    ANSWERS = "answers"
    LATE = "answers late, or a time-out"
    TIMEOUT = "a time-out at the deadline"
    ERROR = "an error"
    LOST = "an error, or a time-out where the answer was lost"
    AUTH = "an error: our credential is refused"


class Circuit(StrEnum):
    """What the circuit does; once it is open callers are refused at once and told when to come again."""

    CLOSED = "stays closed"
    OPENS = "opens"


@dataclass(frozen=True, slots=True)
class Steady:
    """What is to be seen in one cell. `why` is for people."""

    callers: Callers
    circuit: Circuit
    why: str


_ANSWERED = frozenset({None})
_TIMED_OUT = frozenset({"deadline_exceeded", "pool_exhausted", "outcome_unknown"})
_BROKEN = frozenset({"unavailable", "dependency_failed", "outcome_unknown"})

ALLOWED: dict[Callers, frozenset[str | None]] = {
    Callers.ANSWERS: _ANSWERED,
    Callers.LATE: _ANSWERED | _TIMED_OUT,
    Callers.TIMEOUT: _TIMED_OUT,
    Callers.ERROR: _BROKEN,
    Callers.LOST: _BROKEN | _TIMED_OUT,
    Callers.AUTH: frozenset({"dependency_auth"}),
}
"""The codes of problem documents that callers may get; None is an answer."""

BY_FAULT: dict[str, Steady] = {
    "latency": Steady(
        Callers.LATE, Circuit.OPENS, "each round trip longer than a slow call: the share of slow calls trips"
    ),
    "down": Steady(Callers.ERROR, Circuit.OPENS, "connections end and are refused"),
    "reset": Steady(Callers.ERROR, Circuit.OPENS, "connections are reset, new ones too"),
    "hang": Steady(Callers.TIMEOUT, Circuit.OPENS, "connections stay open and nothing comes"),
    "bandwidth": Steady(Callers.TIMEOUT, Circuit.OPENS, "bytes keep dripping in, too few to be an answer"),
    "slicer": Steady(Callers.ANSWERS, Circuit.CLOSED, "frames torn anywhere are put together again"),
    "slow close": Steady(Callers.ANSWERS, Circuit.CLOSED, "a client is closed and opened again meanwhile"),
    "injected latency": Steady(Callers.LATE, Circuit.OPENS, "each attempt later than a slow call"),
    "injected error": Steady(Callers.ERROR, Circuit.OPENS, "the dependency says that it cannot"),
    "injected hang": Steady(Callers.TIMEOUT, Circuit.OPENS, "no answer"),
    "injected reset": Steady(Callers.ERROR, Circuit.OPENS, "the connection is lost"),
    "injected slow-body": Steady(Callers.LATE, Circuit.OPENS, "the answer itself takes longer than a slow call"),
    "injected credential": Steady(Callers.AUTH, Circuit.OPENS, "counted, and never tried again"),
}
"""What holds for every kind of edge that `BY_KIND` does not name."""

_ASKED_AGAIN = Steady(
    Callers.LOST, Circuit.OPENS, "what was under way is not told of the loss; what comes after is refused at once"
)
_MADE_ANEW = Steady(
    Callers.LOST, Circuit.OPENS, "a broken connection is made anew first, which may take what is left of the deadline"
)
BY_KIND: dict[tuple[str, str], Steady] = {
    ("PostgreSQL", "down"): _MADE_ANEW,
    ("PostgreSQL", "reset"): _MADE_ANEW,
    ("NATS", "down"): _ASKED_AGAIN,
    ("NATS", "reset"): _ASKED_AGAIN,
}
"""Where a transport differs."""


def steady(kind: str, fault: str) -> Steady:
    """What is stated. Raises `KeyError` where nothing is."""
    return BY_KIND.get((kind, fault)) or BY_FAULT[fault]


def allowed(callers: Callers) -> frozenset[str | None]:
    """The codes that callers may get; a call that the opening circuit overtook was refused at once."""
    return ALLOWED[callers] | ({"circuit_open"} if callers is not Callers.ANSWERS else set())


def injected_fault(name: str, slow_call_s: float) -> chaos.Fault | None:
    """A fault that an override injects, or None for one of the proxy's."""
    kind = name.removeprefix(INJECTED)
    if kind == name:
        return None
    delayed = kind in {chaos.FaultKind.LATENCY, chaos.FaultKind.SLOW_BODY}
    return chaos.Fault(
        kind=chaos.FaultKind(kind),
        latency_p50_s=1.1 * slow_call_s if delayed else None,
        code="UNAVAILABLE" if kind == chaos.FaultKind.ERROR else "",
    )


def proxy_fault(name: str, slow_call_s: float) -> Fault:
    """A fault of the proxy in the strength the statement is about."""
    return {
        "latency": faultproxy.Latency(0.55 * slow_call_s, jitter_s=0.01 * slow_call_s),
        "down": faultproxy.Down(),
        "reset": faultproxy.Reset(),
        "hang": faultproxy.Hang(),
        "bandwidth": faultproxy.Bandwidth(200),
        "slicer": faultproxy.Slicer(64),
        "slow close": faultproxy.SlowClose(1.0),
    }[name]
