"""Bugs of breakers: states, permits, and what counts."""

from typing import Any

from breakwater.resilience import Outcome, Policy
from breakwater.resilience import _breaker as breaker_module
from breakwater.resilience._breaker import Breaker, Ticket
from breakwater.resilience._window import Window
from tests.simulation.bugs.planting import Swap, planted


@planted
def apply_stale_results(swap: Swap) -> None:
    """A result counts for whatever state the circuit is in when it arrives."""
    settle = Breaker.settle

    def settle_any(self: Breaker, ticket: Any, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        settle(self, self.closed or next(iter(self._probes), ticket), outcome, slow=slow, now_s=now_s)

    swap(Breaker, "settle", settle_any)


@planted
def leak_permits_of_cancelled_probes(swap: Swap) -> None:
    settle = Breaker.settle

    def settle_unless_cancelled(self: Breaker, ticket: Any, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        if outcome is not Outcome.CANCELLED:
            settle(self, ticket, outcome, slow=slow, now_s=now_s)

    swap(Breaker, "settle", settle_unless_cancelled)


@planted
def let_everyone_probe(swap: Swap) -> None:
    swap(Breaker, "_free_permits", lambda _: 1)


@planted
def admit_to_an_open_circuit(swap: Swap) -> None:
    admit = Breaker.admit
    swap(Breaker, "admit", lambda self, now_s: admit(self, now_s) or Ticket(now_s + 1))


@planted
def never_probe(swap: Swap) -> None:
    swap(Breaker, "admit", lambda self, _: self.closed)


@planted
def never_end_a_lease(swap: Swap) -> None:
    """A stream that goes on and on keeps its permit."""
    ticket = Ticket.__init__
    swap(Ticket, "__init__", lambda self, expires_at_s: ticket(self, expires_at_s and expires_at_s + 1e9))


@planted
def close_on_the_first_good_probe(swap: Swap) -> None:
    settle = Breaker._settle_probe

    def settle_and_close(self: Breaker, probe: Ticket, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        settle(self, probe, outcome, slow=slow, now_s=now_s)
        if self._probes_well and self.closed is None:
            self._state.close()

    swap(Breaker, "_settle_probe", settle_and_close)


@planted
def count_cancellations(swap: Swap) -> None:
    """Who goes away is taken for a failure of the dependency."""
    swap(breaker_module, "_SAYS_NOTHING", breaker_module._SAYS_NOTHING - {Outcome.CANCELLED})
    swap(breaker_module, "FAILED", breaker_module.FAILED | {Outcome.CANCELLED})


@planted
def count_hurried_callers(swap: Swap) -> None:
    """A caller's own short deadline is taken for a failure of the dependency."""
    swap(breaker_module, "_SAYS_NOTHING", breaker_module._SAYS_NOTHING - {Outcome.DEADLINE_EXCEEDED})
    swap(breaker_module, "FAILED", breaker_module.FAILED | {Outcome.DEADLINE_EXCEEDED})


@planted
def take_push_back_for_a_failure(swap: Swap) -> None:
    swap(breaker_module, "FAILED", breaker_module.FAILED | {Outcome.OVERLOAD})


@planted
def forget_failures_after_a_success(swap: Swap) -> None:
    """Counts in a row: at 50 % errors the circuit hardly ever opens."""
    settle = Breaker._settle_closed

    def settle_in_a_row(self: Breaker, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        if outcome is Outcome.SUCCESS:
            self._window.forget()
        settle(self, outcome, slow=slow, now_s=now_s)

    swap(Breaker, "_settle_closed", settle_in_a_row)


@planted
def take_slow_answers_for_good_ones(swap: Swap) -> None:
    settle = Breaker.settle

    def settle_as_quick(self: Breaker, ticket: Any, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        settle(self, ticket, outcome, slow=False, now_s=now_s)

    swap(Breaker, "settle", settle_as_quick)


@planted
def keep_what_was_judged_before(swap: Swap) -> None:
    """A closed circuit starts with the failures that opened it."""
    swap(Window, "forget", lambda _: None)


@planted
def probe_at_a_look(swap: Swap) -> None:
    """Asking for the state moves it on."""
    snapshot = Policy.snapshot

    def look(self: Policy) -> Any:
        self._breaker.admit(self._monotonic())
        return snapshot(self)

    swap(Policy, "snapshot", look)


@planted
def judge_by_the_wall_clock(swap: Swap) -> None:
    """The clock of the day is set back, and a circuit stays open for an hour."""
    init = Policy.__init__

    def wall_clocked(self: Policy, settings: Any, **options: Any) -> None:
        init(self, settings, **options)
        self._monotonic = lambda: self._clock.now().timestamp()

    swap(Policy, "__init__", wall_clocked)
