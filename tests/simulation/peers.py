"""The breakers of others on the same loop and the same clock, each in the form its documentation shows for asyncio."""

import importlib
import types
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

import aiobreaker
import circuitbreaker
import pybreaker
from hyx.circuitbreaker import consecutive_breaker
from purgatory import AsyncCircuitBreakerFactory

from breakwater.resilience import Policy, PolicySettings
from tests.simulation.loop import LoopClock

FAILURES: Final = 5
"""Failures in a row that open the circuit."""
OPEN_S: Final = 1.0
LEASE_S: Final = 5.0

Work = Callable[[], Awaitable[str]]
Guard = Callable[[Work], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Breaker:
    """`guard(clock)` gives a fresh one; it lets `probes` calls through to judge whether a dependency is back."""

    name: str
    form: str
    probes: int
    guard: Callable[[LoopClock], Guard]


def _breakwater(clock: LoopClock) -> Guard:
    settings = PolicySettings(
        caller="gateway",
        dependency="leads",
        attempt_timeout_s=4.0,
        slow_call_s=4.0,
        stream_s_max=3600,
        concurrency_max=10_000,
        calls_min=FAILURES,
        open_s=OPEN_S,
        probes=3,
        probe_lease_s=LEASE_S,
    )
    policy = Policy(settings, clock=clock)

    async def guard(work: Work) -> str:
        # A stream: the attempt timeout would end the calls that these rules let hang.
        async with policy.admit():
            return await work()

    return guard


def _pybreaker(_: LoopClock) -> Guard:
    breaker = pybreaker.CircuitBreaker(fail_max=FAILURES, reset_timeout=OPEN_S)

    async def guard(work: Work) -> str:
        with breaker.calling():
            return await work()

    return guard


def _aiobreaker(_: LoopClock) -> Guard:
    breaker = aiobreaker.CircuitBreaker(fail_max=FAILURES, timeout_duration=timedelta(seconds=OPEN_S))
    return breaker.call_async


def _circuitbreaker(_: LoopClock) -> Guard:
    @circuitbreaker.circuit(failure_threshold=FAILURES, recovery_timeout=OPEN_S)
    async def guard(work: Work) -> str:
        return await work()

    return guard


def _hyx(_: LoopClock) -> Guard:
    @consecutive_breaker(failure_threshold=FAILURES, recovery_time_secs=OPEN_S, recovery_threshold=3)
    async def guard(work: Work) -> str:
        return await work()

    return guard


def _purgatory(_: LoopClock) -> Guard:
    factory = AsyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=OPEN_S)

    async def guard(work: Work) -> str:
        async with await factory.get_breaker("leads"):
            return await work()

    return guard


BREAKERS: Final = (
    Breaker("breakwater", "`policy.admit()`", 3, _breakwater),
    Breaker(f"pybreaker {version('pybreaker')}", "`calling()`", 1, _pybreaker),
    Breaker(f"aiobreaker {version('aiobreaker')}", "`call_async`", 1, _aiobreaker),
    Breaker(f"circuitbreaker {version('circuitbreaker')}", "`@circuit`", 1, _circuitbreaker),
    Breaker(f"purgatory {version('purgatory')}", "`async with`", 1, _purgatory),
    Breaker(f"hyx {version('hyx')}", "`@consecutive_breaker`", 3, _hyx),
)


@contextmanager
def moving_clocks(clock: LoopClock) -> Iterator[None]:
    """Inside the block every one of them reads its time from `clock`: wall or monotonic, whichever it asks for."""

    class Moving(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return clock.now().astimezone(tz) if tz else clock.now().replace(tzinfo=None)

        @classmethod
        def utcnow(cls) -> datetime:  # type: ignore[override]
            return clock.now().replace(tzinfo=None)

    wall = types.SimpleNamespace(time=lambda: clock.now().timestamp())
    swaps = [
        ("pybreaker", "datetime", Moving),
        ("aiobreaker.state", "datetime", Moving),
        ("aiobreaker.circuitbreaker", "datetime", Moving),
        ("hyx.circuitbreaker.states", "datetime", Moving),
        ("purgatory.domain.model", "time", wall),
        ("circuitbreaker", "monotonic", clock.monotonic),
    ]
    before = []
    for name, attribute, value in swaps:
        module = importlib.import_module(name)
        before.append((module, attribute, getattr(module, attribute)))
        setattr(module, attribute, value)
    try:
        yield
    finally:
        for module, attribute, value in before:
            setattr(module, attribute, value)
