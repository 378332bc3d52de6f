"""What a drill does to the platform: prepared while all is well, begun, ended, and nothing of it left."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from breakwater.cli.options import Options
from breakwater.cli.overriding import lay, lift
from breakwater.local import control
from breakwater.local.state import State

_OVERRIDE_SPARE_S = 60
"""An override outlives its drill by this at most, whatever becomes of the drill's process."""


@dataclass(frozen=True, slots=True)
class Check:
    """One statement of a drill."""

    name: str
    held: bool
    said: str
    took_s: float | None = None
    """Where it is about something that takes its time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is done to the platform, and undone."""

    begin: Callable[[int], None]
    """Given the seconds it will last."""
    end: Callable[[], None]
    shown: list[Check] = field(default_factory=list)
    """What preparing, beginning and ending it have shown beside what callers see."""


Prepare = Callable[[Options, Path], AbstractContextManager[Fault]]
"""Makes a fault ready before anybody calls, and cleans up after everybody has; `Path` is the checked-out tree."""


def stopped(name: str) -> Prepare:
    """A process that is down, and stays down until it is started."""
    return lambda options, _: nullcontext(
        Fault(begin=lambda _: _ask(options, "stop", name), end=lambda: _ask(options, "start", name))
    )


def restarted(name: str) -> Prepare:
    """A process that is stopped and started in one go; to end it is to see that it runs."""
    return lambda options, _: nullcontext(
        Fault(begin=lambda _: _ask(options, "restart", name), end=lambda: _ask(options, "start", name))
    )


def slow(delay_s: float, *edges: tuple[str, str]) -> Prepare:
    """Every attempt on the edges (caller, dependency) is late."""

    def prepared(options: Options, _: Path) -> AbstractContextManager[Fault]:
        def begin(lasts_s: int) -> None:
            for caller, dependency in edges:
                lay(
                    options,
                    dependency,
                    mode="chaos",
                    caller=caller,
                    reason=f"breakwater drill: {caller} -> {dependency} slow",
                    ttl_s=lasts_s + _OVERRIDE_SPARE_S,
                    fault={"kind": "latency", "latency_p50_s": delay_s},
                )

        def end() -> None:
            for caller, dependency in edges:
                lift(options, dependency, caller=caller)

        return nullcontext(Fault(begin, end))

    return prepared


@contextmanager
def terminable() -> Iterator[None]:
    """Ctrl-C ends the block, also where a shell has it ignored, and so does SIGTERM: what was laid is taken up again."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A second Ctrl-C does not keep the block from mending what was broken."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask(options: Options, action: str, name: str) -> None:
    control.ask(State.at(options.state).control_socket, action, name)
