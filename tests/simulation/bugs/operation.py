"""Bugs of what operators do: overrides, faults and reloads."""

from dataclasses import replace
from typing import Any

from breakwater.resilience import OverrideMode, Policy
from breakwater.resilience import _policy as policy_module
from breakwater.resilience._breaker import Breaker
from breakwater.resilience._bulkhead import Bulkhead
from breakwater.resilience._chaos import Chaos
from breakwater.resilience._override import OverrideInForce
from breakwater.resilience._window import Window
from tests.simulation.bugs.planting import Swap, planted

# ---- overrides -------------------------------------------------------------------------------------------------------


@planted
def never_end_an_override(swap: Swap) -> None:
    put = OverrideInForce.set

    def put_for_ever(self: OverrideInForce, override: Any) -> None:
        put(self, override)
        self.until_s += 1e9

    swap(OverrideInForce, "set", put_for_ever)


@planted
def end_overrides_by_the_wall_clock(swap: Swap) -> None:
    """A clock that is set while an override holds shortens or lengthens it."""

    def at(self: OverrideInForce, _: float) -> Any:
        override = self.override
        return override if override is not None and self._clock.now() < override.expires_at else None

    swap(OverrideInForce, "at", at)


@planted
def let_calls_through_forced_open(swap: Swap) -> None:
    swap(policy_module, "_NO_ATTEMPTS", policy_module._NO_ATTEMPTS - {OverrideMode.FORCED_OPEN})


@planted
def take_shadow_for_auto(swap: Swap) -> None:
    """An override that should only watch refuses calls."""
    apply = Policy.apply

    def apply_strictly(self: Policy, override: Any) -> None:
        if override is not None and override.mode is OverrideMode.SHADOW:
            override = replace(override, mode=OverrideMode.FORCED_OPEN)
        apply(self, override)

    swap(Policy, "apply", apply_strictly)


@planted
def let_chaos_through_an_open_circuit(swap: Swap) -> None:
    """A fault takes the breaker away instead of happening inside of it."""
    swap(policy_module, "_REFUSING", policy_module._REFUSING - {OverrideMode.CHAOS})


@planted
def begin_streams_late_without_end(swap: Swap) -> None:
    """An injected hang of a stream, which has no alarm, outlives the attempt's time."""

    async def time_out(self: Chaos, _: float) -> None:
        await self._clock.sleep(3600)

    swap(Chaos, "_time_out", time_out)


@planted
def forget_what_a_fault_took(swap: Swap) -> None:
    """A late attempt is given its whole time again."""
    strike = Chaos.strike

    async def strike_for_nothing(self: Chaos, fault: Any, timeout_s: float) -> float:
        await strike(self, fault, timeout_s)
        return timeout_s

    swap(Chaos, "strike", strike_for_nothing)


# ---- reloads ---------------------------------------------------------------------------------------------------------


@planted
def lend_leased_permits_again_after_a_reload(swap: Swap) -> None:
    reconfigure = Breaker.reconfigure

    def forget_probes(self: Breaker, settings: Any, window: Window) -> None:
        reconfigure(self, settings, window)
        self._probes = set()

    swap(Breaker, "reconfigure", forget_probes)


@planted
def let_waiters_in_uncounted_after_a_reload(swap: Swap) -> None:
    resize = Bulkhead.resize

    def resize_uncounted(self: Bulkhead, limit: int, queue_max: int) -> None:
        in_use = self.in_use
        resize(self, limit, queue_max)
        self.in_use = in_use

    swap(Bulkhead, "resize", resize_uncounted)
