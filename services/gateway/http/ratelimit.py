"""How fast one caller may be: a token bucket for each, in this replica's memory (N replicas allow N times as much).

Headers as of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy: "default";q=QUOTA;w=SECONDS` and
`RateLimit: "default";r=REMAINING;t=SECONDS`, where after `t` the whole quota is there again; Retry-After is that `t`.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import RateLimitedError


@dataclass(frozen=True, slots=True)
class RateLimits:
    """`quota` requests in `window_s` seconds for each of at most `callers_max` callers."""

    quota: int
    window_s: int
    callers_max: int


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


class RateLimiter:
    """Takes one token for each request. The caller unheard of for longest is forgotten first, full by then."""

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._per_s = limits.quota / limits.window_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self.policy_header = f'"default";q={limits.quota};w={limits.window_s}'.encode()

    def take(self, caller: str) -> bytes:
        """The value of the RateLimit header. Raises `RateLimitedError` when the caller's bucket is empty."""
        now_s = self._clock.monotonic()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(float(self._limits.quota), now_s)
            if len(self._buckets) > self._limits.callers_max:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(caller)
            bucket.tokens = min(self._limits.quota, bucket.tokens + (now_s - bucket.filled_at_s) * self._per_s)
            bucket.filled_at_s = now_s
        if bucket.tokens < 1:
            raise RateLimitedError(
                f"more than {self._limits.quota} requests in {self._limits.window_s} s",
                retry_after_s=self._full_in_s(bucket),
            )
        bucket.tokens -= 1
        return f'"default";r={int(bucket.tokens)};t={self._full_in_s(bucket)}'.encode()

    def refusal_header(self, error: RateLimitedError) -> bytes:
        """The RateLimit header of a refusal."""
        return f'"default";r=0;t={math.ceil(error.retry_after_s or 1)}'.encode()

    def _full_in_s(self, bucket: _Bucket) -> int:
        return max(1, math.ceil((self._limits.quota - bucket.tokens) / self._per_s))
