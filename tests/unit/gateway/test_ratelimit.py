"""The token bucket of each caller."""

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import RateLimitedError
from services.gateway.http.ratelimit import RateLimiter, RateLimits


@pytest.fixture
def clock():
    return VirtualClock()


def taken(limiter, caller):
    """How many requests pass until one is refused."""
    count = 0
    while True:
        try:
            limiter.take(caller)
        except RateLimitedError as error:
            return count, error.retry_after_s
        count += 1


async def test_after_retry_after_the_whole_quota_is_there_again(clock):
    """`t` of RateLimit and Retry-After are the same promise, and it holds."""
    limiter = RateLimiter(RateLimits(quota=6, window_s=3, callers_max=10), clock)
    count, retry_after_s = taken(limiter, "a")
    assert (count, retry_after_s) == (6, 3)
    await clock.advance(retry_after_s)
    assert taken(limiter, "a")[0] == 6


async def test_tokens_come_back_steadily(clock):
    """Half of the window brings half of the quota."""
    limiter = RateLimiter(RateLimits(quota=6, window_s=3, callers_max=10), clock)
    taken(limiter, "a")
    await clock.advance(1.5)
    assert taken(limiter, "a")[0] == 3


async def test_the_table_of_callers_is_bounded(clock):
    """A flood of made-up callers forgets the longest silent ones and grows no further."""
    limiter = RateLimiter(RateLimits(quota=1, window_s=1, callers_max=3), clock)
    for number in range(100):
        limiter.take(f"caller-{number}")
    assert len(limiter._buckets) == 3
    with pytest.raises(RateLimitedError):
        limiter.take("caller-99")
