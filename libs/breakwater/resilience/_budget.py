"""The retry budget: stacked retries must not multiply load (resilience.md: 27 x without, 1.33 x with 10 % budgets)."""

from typing import Final

# Ten deposits of 0.1 make a float a hair below 1.
_WHOLE: Final = 1.0 - 1e-9


class RetryBudget:
    """A token bucket filled by admitted calls, or by time where calls are too few; one retry takes one token.

    Calls are counted when they are admitted, not when they end: a slow dependency must not lag the budget behind.
    """

    __slots__ = ("_floor_per_s", "_settled_at_s", "_tokens", "_tokens_max", "earned", "ratio")

    def __init__(self, *, ratio: float, floor_per_s: float, tokens_max: float, now_s: float) -> None:
        self.ratio = ratio
        self.earned = 0.0
        """Deposits since the last settlement; the hot path adds `ratio` here and touches nothing else."""
        self._floor_per_s = floor_per_s
        self._tokens_max = tokens_max
        self._tokens = min(1.0, tokens_max)
        self._settled_at_s = now_s

    def reconfigure(self, *, ratio: float, floor_per_s: float, tokens_max: float, now_s: float) -> None:
        """Other rates from now on; what was saved up stays, as far as the new bucket holds it."""
        self._tokens = min(self.tokens(now_s), tokens_max)
        self.earned = 0.0
        self._settled_at_s = now_s
        self.ratio, self._floor_per_s, self._tokens_max = ratio, floor_per_s, tokens_max

    def tokens(self, now_s: float) -> float:
        """What could be spent now; reading settles nothing."""
        floor = self._floor_per_s * (now_s - self._settled_at_s)
        return min(self._tokens_max, self._tokens + max(self.earned, floor))

    def holds_one(self, now_s: float) -> bool:
        return self.tokens(now_s) >= _WHOLE

    def spend(self, now_s: float) -> bool:
        """Takes one token; False where there is none."""
        tokens = self.tokens(now_s)
        self.earned = 0.0
        self._settled_at_s = now_s
        granted = tokens >= _WHOLE
        self._tokens = max(0.0, tokens - 1.0) if granted else tokens
        return granted
