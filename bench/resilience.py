"""What one guarded call costs beside other Python libraries, in one run: `python -m bench.resilience`.

Every contender guards the same empty coroutine, the peers in their fastest documented form. The rounds of all contenders
are interleaved, so that noise of the machine meets all of them, and the median of the rounds counts. Measured is the
processor time of the process: what else the machine does delays a round and is not charged to it.

`peer_us NAME` tells how this run's peers compare with what was measured once on another machine (`MEASURED_US`), and
`machine_factor` how much slower this one is: peers within 20 % of that factor were treated as they were there.
"""

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Awaitable, Callable

import aiobreaker
import circuitbreaker
import pybreaker
import tenacity
import uvloop
from hyx.bulkhead import bulkhead
from hyx.circuitbreaker import consecutive_breaker
from hyx.retry import retry
from hyx.timeout import timeout
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind
from purgatory import AsyncCircuitBreakerFactory

from breakwater.chassis import telemetry
from breakwater.resilience import Deadline, Policy, PolicySettings, current_deadline

Contender = Callable[[int], Awaitable[None]]

MEASURED_US = {
    "bare await": 0.1, "circuitbreaker": 1.1, "hyx breaker": 1.2, "purgatory": 1.9, "aiobreaker": 2.0,
    "pybreaker": 3.7, "hyx breaker + retry": 3.7, "asyncio.timeout": 5.3, "hyx decorators": 24.0, "tenacity": 33.0,
    "pybreaker+tenacity": 41.0,
}  # fmt: skip
"""The peers' costs as the project's measurements have them, on an idle machine."""


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


def breakwater_in_spans(traceparent: str) -> Contender:
    """The full stack within one client span, as the gRPC channels have it; what exports spans is not counted."""
    policy = Policy(PolicySettings(caller="bench", dependency="nothing"))
    attributes = {"rpc.system.name": "grpc", "server.address": "nothing"}

    async def run(calls: int) -> None:
        current_deadline.set(Deadline.after(60))
        telemetry.join(traceparent)
        for _ in range(calls):
            with telemetry.span("bench/call", SpanKind.CLIENT, attributes):
                await policy.call(attempt, retryable=True)

    return run


def in_a_loop(guarded: Callable[[], Awaitable[int]]) -> Contender:
    async def run(calls: int) -> None:
        for _ in range(calls):
            await guarded()

    return run


def breakers_alone() -> dict[str, Contender]:
    """The breakers and the retries of others, each alone; and hyx by decorators, where its timeout starts a task."""
    by_pybreaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=2)
    by_aiobreaker = aiobreaker.CircuitBreaker(fail_max=5)
    by_hyx = consecutive_breaker(failure_threshold=5, recovery_time_secs=2)
    purgatory = AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=2)

    async def with_pybreaker() -> int:
        with by_pybreaker.calling():
            return await work()

    async def with_timeout() -> int:
        async with asyncio.timeout(2.0):
            return await work()

    @by_hyx
    async def with_hyx() -> int:
        return await work()

    @retry(attempts=3, backoff=0.05)
    @consecutive_breaker(failure_threshold=5, recovery_time_secs=2)
    async def with_hyx_and_retry() -> int:
        return await work()

    @tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_random_exponential(0.05, 1), reraise=True)
    async def with_tenacity() -> int:
        return await work()

    async def with_purgatory() -> int:
        async with await purgatory.get_breaker("nothing"):
            return await work()

    async def with_aiobreaker() -> int:
        return await work()

    @retry(attempts=3, backoff=0.05)
    @bulkhead(max_concurrency=64, max_capacity=192)
    @consecutive_breaker(failure_threshold=5, recovery_time_secs=2)
    @timeout(2.0)
    async def with_hyx_decorators() -> int:
        return await work()

    return {
        "circuitbreaker": in_a_loop(circuitbreaker.circuit(failure_threshold=5, recovery_timeout=2)(work)),
        "hyx breaker": in_a_loop(with_hyx),
        "purgatory": in_a_loop(with_purgatory),
        "aiobreaker": in_a_loop(by_aiobreaker(with_aiobreaker)),
        "pybreaker": in_a_loop(with_pybreaker),
        "hyx breaker + retry": in_a_loop(with_hyx_and_retry),
        "asyncio.timeout": in_a_loop(with_timeout),
        "tenacity": in_a_loop(with_tenacity),
        "hyx decorators": in_a_loop(with_hyx_decorators),
    }


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

    return in_a_loop(guarded_in_time if with_timeout else guarded)


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

    return in_a_loop(guarded_in_time if with_timeout else guarded)


def all_contenders() -> dict[str, Contender]:
    return {
        "bare await": bare,
        "full_stack_us": breakwater(attempt_timer=True),
        "hyx": hyx(with_timeout=True),
        "pybreaker+tenacity": pybreaker_and_tenacity(with_timeout=True),
        "full_stack_no_timeout_us": breakwater(attempt_timer=False),
        "hyx without timeout": hyx(with_timeout=False),
        "pybreaker+tenacity without timeout": pybreaker_and_tenacity(with_timeout=False),
        "unsampled": breakwater_in_spans(f"00-{1:032x}-{1:016x}-00"),
        "sampled": breakwater_in_spans(f"00-{1:032x}-{1:016x}-01"),
        **breakers_alone(),
    }


async def measure(build: Callable[[], dict[str, Contender]], rounds: int, calls: int) -> dict[str, float]:
    """The median cost of one call in microseconds, by contender; `build` makes them within the running loop."""
    contenders = build()
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            gc.collect()
            started_s = time.process_time()
            await contender(calls)
            costs[name].append((time.process_time() - started_s) / calls * 1e6)
    # The first round warms up the interpreter.
    return {name: statistics.median(rounds_us[1:]) for name, rounds_us in costs.items()}


def report(
    figure: str, value: float, peer: str | None = None, peer_value: float | None = None, *, unit: str = "us"
) -> None:
    line = {
        "bench": "resilience",
        "figure": figure,
        "value": round(value, 2),
        "unit": unit,
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
    telemetry.Telemetry.start("bench", processor=SpanProcessor())
    costs_us = uvloop.run(measure(all_contenders, arguments.rounds, arguments.calls))
    report("bare_await_us", costs_us["bare await"])
    for figure, without in (("full_stack_us", ""), ("full_stack_no_timeout_us", " without timeout")):
        for peer in ("hyx", "pybreaker+tenacity"):
            report(figure, costs_us[figure], peer, costs_us[peer + without])
    report("span_unsampled_us", costs_us["unsampled"] - costs_us["full_stack_us"])
    report("span_sampled_us", costs_us["sampled"] - costs_us["full_stack_us"])
    # `pybreaker+tenacity` was measured without a timeout, hyx by its decorators: the ratios above take its faster form.
    found_us = {name: costs_us[name] for name in MEASURED_US} | {
        "pybreaker+tenacity": costs_us["pybreaker+tenacity without timeout"]
    }
    factor = statistics.median(found_us[name] / measured_us for name, measured_us in MEASURED_US.items())
    report("machine_factor", factor, unit="times")
    for name, measured_us in MEASURED_US.items():
        report(f"peer_us {name}", found_us[name], "measurements.md", measured_us)
    off = [name for name, us in MEASURED_US.items() if not 0.8 <= found_us[name] / us / factor <= 1.2]
    report("peers_off_by_more_than_20_percent", len(off), unit="peers")


if __name__ == "__main__":
    main()
