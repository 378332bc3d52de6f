"""The circuit breaker. pybreaker holds the state and announces its changes; when to change it is decided here."""

import random
from collections.abc import Callable
from math import ceil
from typing import Final

import pybreaker

from breakwater.resilience._outcome import FAILED, Outcome
from breakwater.resilience._settings import PolicySettings
from breakwater.resilience._window import Window
from breakwater.resilience.snapshots import CircuitState

OnChange = Callable[[CircuitState, CircuitState, str], None]

# Probes of many replicas must not arrive together: each waits up to a tenth longer.
_OPEN_JITTER: Final = 0.1


class Ticket:
    """Proof of admission to one state of the circuit; it is worth nothing once that state has ended.

    A closed circuit hands the same ticket to everyone, a half-open one leases a ticket to each probe.
    """

    __slots__ = ("expires_at_s",)

    def __init__(self, expires_at_s: float) -> None:
        self.expires_at_s = expires_at_s


class _Announcer(pybreaker.CircuitBreakerListener):
    """Hears pybreaker's transitions. pybreaker calls it before the storage holds the new state: trust its arguments."""

    def __init__(self, changed: Callable[[CircuitState, CircuitState], None]) -> None:
        self._changed = changed

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,  # noqa: ARG002 - pybreaker's signature
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        if old_state is not None:
            self._changed(CircuitState(old_state.name), CircuitState(new_state.name))


class Breaker:
    """Judges results by the rolling window, admits by tickets."""

    def __init__(self, settings: PolicySettings, window: Window, rng: random.Random, on_change: OnChange) -> None:
        self._settings = settings
        self._window = window
        self._rng = rng
        self._on_change = on_change
        self._reason = ""
        self._opened_at_s = 0.0
        self._open_for_s = 0.0
        self._rounds_failed = 0
        self._probes: set[Ticket] = set()
        self._probes_well = 0
        self._probes_failed = 0
        self._probes_slow = 0
        self._probes_of_round = settings.probes
        self.stale = 0
        """Results that came too late to count."""
        self.closed: Ticket | None = Ticket(expires_at_s=0.0)
        """The ticket of everyone while the circuit is closed, None otherwise; the hot path takes it itself."""
        self._state = pybreaker.CircuitBreaker(
            name=f"{settings.caller} -> {settings.dependency}", listeners=[_Announcer(self._changed)]
        )

    @property
    def state(self) -> CircuitState:
        return CircuitState(self._state.current_state)

    def reconfigure(self, settings: PolicySettings, window: Window) -> None:
        """Judges by other settings from now on; the state stays, and a round of probes ends as it began."""
        self._settings = settings
        self._window = window

    def admit(self, now_s: float) -> Ticket | None:
        """A ticket, or None where no call may go now."""
        if self.closed is not None:
            return self.closed
        if self.state is CircuitState.OPEN:
            if now_s < self._opened_at_s + self._open_for_s:
                return None
            self._reason = f"open for {self._open_for_s:.1f} s, probing"
            self._state.half_open()
        if self._free_permits() <= 0:
            self._probes = {probe for probe in self._probes if probe.expires_at_s > now_s}
            if self._free_permits() <= 0:
                return None
        probe = Ticket(now_s + self._settings.probe_lease_s)
        self._probes.add(probe)
        return probe

    def settle(self, ticket: Ticket | None, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        """Takes the result of an admitted call; None is the ticket of a call that an override let through."""
        if ticket is None:
            return
        if ticket is self.closed:
            self._settle_closed(outcome, slow=slow, now_s=now_s)
        elif ticket in self._probes and ticket.expires_at_s > now_s:
            self._settle_probe(ticket, outcome, slow=slow, now_s=now_s)
        else:
            self._probes.discard(ticket)
            self.stale += 1

    def next_probe_s(self, now_s: float) -> float | None:
        """Seconds until a probe may go; None while the circuit is closed."""
        if self.closed is not None:
            return None
        if self.state is CircuitState.OPEN:
            return max(0.0, self._opened_at_s + self._open_for_s - now_s)
        if self._free_permits() > 0:
            return 0.0
        return max(0.0, min(probe.expires_at_s for probe in self._probes) - now_s)

    def _free_permits(self) -> int:
        return self._probes_of_round - len(self._probes) - self._probes_well - self._probes_failed

    def _settle_closed(self, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        if outcome in _SAYS_NOTHING:
            return
        bucket = self._window.bucket(now_s)
        bucket.judged += 1
        bucket.failed += outcome in FAILED
        bucket.slow += slow
        if not slow and outcome not in FAILED:
            return
        judged, failed, slow_count = self._window.recent(now_s, self._settings.calls_enough)
        if judged < self._settings.calls_min:
            return
        if failed >= self._settings.error_rate_max * judged:
            self._open(f"{failed} of {judged} calls failed", now_s)
        elif slow_count >= self._settings.slow_rate_max * judged:
            self._open(f"{slow_count} of {judged} calls took over {self._settings.slow_call_s:g} s", now_s)

    def _settle_probe(self, probe: Ticket, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        self._probes.remove(probe)
        # Push-back is no verdict: the permit goes to the next, so an overloaded dependency is asked by few at a time.
        if outcome in _SAYS_NOTHING or outcome is Outcome.OVERLOAD:
            return
        failed = outcome in FAILED
        self._probes_failed += failed
        self._probes_well += not failed
        self._probes_slow += slow
        probes = self._probes_of_round
        if self._probes_failed >= ceil(probes * self._settings.error_rate_max):
            self._open(f"{self._probes_failed} of {probes} probes failed", now_s)
        elif self._probes_slow >= ceil(probes * self._settings.slow_rate_max):
            self._open(f"{self._probes_slow} of {probes} probes took over {self._settings.slow_call_s:g} s", now_s)
        elif self._probes_well + self._probes_failed == probes:
            self._rounds_failed = 0
            self._reason = f"{self._probes_well} of {probes} probes answered"
            self._state.close()

    def _open(self, reason: str, now_s: float) -> None:
        open_s = min(self._settings.open_s * 2.0**self._rounds_failed, self._settings.open_s_max)
        self._open_for_s = open_s * (1 + _OPEN_JITTER * self._rng.random())
        self._opened_at_s = now_s
        self._rounds_failed = min(self._rounds_failed + 1, 32)
        self._reason = reason
        self._state.open()

    def _changed(self, old: CircuitState, new: CircuitState) -> None:
        self.closed = Ticket(expires_at_s=0.0) if new is CircuitState.CLOSED else None
        self._probes = set()
        self._probes_well = self._probes_failed = self._probes_slow = 0
        self._probes_of_round = self._settings.probes
        self._window.forget()
        self._on_change(old, new, self._reason)


_SAYS_NOTHING: Final = frozenset(
    {Outcome.CANCELLED, Outcome.DEADLINE_EXCEEDED, Outcome.REJECTED, Outcome.SHORT_CIRCUITED}
)
