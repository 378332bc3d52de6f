"""What one guarded call costs beside other Python libraries, in one run: `python bench/resilience.py`.

Every contender guards the same empty coroutine. The rounds of all contenders are interleaved, so that noise of the
machine meets all of them, and the median of the rounds counts. Peers are used in their fastest documented form.
"""

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Awaitable, Callable

import pybreaker
import tenacity
import uvloop
from hyx.bulkhead import bulkhead
from hyx.circuitbreaker import consecutive_breaker
from hyx.retry import retry
from hyx.timeout import timeout

from breakwater.resilience import Deadline, Policy, PolicySettings, current_deadline

Contender = Callable[[int], Awaitable[None]]


async def work() -> int:
    return 1


async def attempt(timeout_s: float) -> int:  # noqa: ARG001 - the shape of an attempt
    return 1


async def bare(calls: int) -> None:
    for _ in range(calls):
        await work()


def breakwater(*, attempt_timer: bool) -> Contender:
    """Deadline, budgeted retry, bulkhead, breaker, figures, and with `attempt_timer` the attempt timeout."""
    policy = Policy(PolicySettings(caller="bench", dependency="nothing", attempt_timer=attempt_timer))

    async def run(calls: int) -> None:
        current_deadline.set(Deadline.after(60))
        for _ in range(calls):
            await policy.call(attempt, retryable=True)

    return run


def hyx(*, with_timeout: bool) -> Contender:
    """Breaker, retry, bulkhead and the timeout; it has neither deadline, budget nor figures."""
    slots = bulkhead(max_concurrency=64, max_capacity=192)
    breaker = consecutive_breaker(failure_threshold=5, recovery_time_secs=2)

    @retry(attempts=3, backoff=0.05)
    async def guarded() -> int:
        async with slots, breaker:
            return await work()

    @retry(attempts=3, backoff=0.05)
    async def guarded_in_time() -> int:
        async with slots, breaker, timeout(2.0):
            return await work()

    call = guarded_in_time if with_timeout else guarded

    async def run(calls: int) -> None:
        for _ in range(calls):
            await call()

    return run


def pybreaker_and_tenacity(*, with_timeout: bool) -> Contender:
    """Breaker and retry, and `asyncio.timeout`; no deadline, bulkhead, budget or figures."""
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=2)

    @tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_random_exponential(0.05, 1), reraise=True)
    async def guarded() -> int:
        with breaker.calling():
            return await work()

    @tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_random_exponential(0.05, 1), reraise=True)
    async def guarded_in_time() -> int:
        with breaker.calling():
            async with asyncio.timeout(2.0):
                return await work()

    call = guarded_in_time if with_timeout else guarded

    async def run(calls: int) -> None:
        for _ in range(calls):
            await call()

    return run


async def measure(contenders: dict[str, Contender], rounds: int, calls: int) -> dict[str, float]:
    """The median cost of one call in microseconds, by contender."""
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            gc.collect()
            started_s = time.perf_counter()
            await contender(calls)
            costs[name].append((time.perf_counter() - started_s) / calls * 1e6)
    # The first round warms up the interpreter.
    return {name: statistics.median(rounds_us[1:]) for name, rounds_us in costs.items()}


def report(figure: str, value: float, peer: str | None = None, peer_value: float | None = None) -> None:
    line = {
        "bench": "resilience",
        "figure": figure,
        "value": round(value, 2),
        "unit": "us",
        "peer": peer,
        "peer_value": None if peer_value is None else round(peer_value, 2),
        "ratio": None if peer_value is None else round(value / peer_value, 3),
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--calls", type=int, default=10_000, help="calls of one round")
    arguments = parser.parse_args()
    contenders = {
        "bare": bare,
        "full_stack_us": breakwater(attempt_timer=True),
        "full_stack_us hyx": hyx(with_timeout=True),
        "full_stack_us pybreaker+tenacity": pybreaker_and_tenacity(with_timeout=True),
        "full_stack_no_timeout_us": breakwater(attempt_timer=False),
        "full_stack_no_timeout_us hyx": hyx(with_timeout=False),
        "full_stack_no_timeout_us pybreaker+tenacity": pybreaker_and_tenacity(with_timeout=False),
    }
    costs_us = uvloop.run(measure(contenders, arguments.rounds, arguments.calls))
    report("bare_await_us", costs_us["bare"])
    for figure in ("full_stack_us", "full_stack_no_timeout_us"):
        for peer in ("hyx", "pybreaker+tenacity"):
            report(figure, costs_us[figure], peer, costs_us[f"{figure} {peer}"])


if __name__ == "__main__":
    main()
