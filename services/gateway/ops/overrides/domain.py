"""An override as a person asks for it: what, on whose edge, why, and for how long. Pure (api.md, `.../override`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.gateway.ops.edges.domain import Edge, Fault

CHAOS = "chaos"
MODES = ("forced-open", "forced-closed", "shadow", "disabled", "fallback", CHAOS)
REASON_CHARS_MIN, REASON_CHARS_MAX = 3, 500
TTL_S_MAX = 24 * 3600


@dataclass(frozen=True, slots=True)
class OverrideOrder:
    """An override to be laid, or, without a mode, to be lifted. `caller` None: every caller's edge to the dependency."""

    dependency: str
    caller: str | None
    mode: str | None
    actor: str
    reason: str
    set_at: datetime
    expires_at: datetime
    fault: Fault | None = None


def order(
    *,
    dependency: str,
    caller: str | None,
    mode: str,
    actor: str,
    reason: str,
    ttl_s: float,
    now: datetime,
    fault: Fault | None = None,
    chaos_allowed: bool = False,
) -> OverrideOrder:
    """The order, checked. Raises `InvalidRequestError` naming every field that cannot be."""
    errors = []
    if mode not in MODES:
        errors.append(FieldError("mode", f"one of {', '.join(MODES)}"))
    if mode == CHAOS and not chaos_allowed:
        errors.append(FieldError("mode", "chaos is not allowed in production (BREAKWATER_CHAOS_IN_PRODUCTION)"))
    if mode == CHAOS and fault is None:
        errors.append(FieldError("fault", "chaos needs it"))
    if mode != CHAOS and fault is not None:
        errors.append(FieldError("fault", f"means nothing to {mode}"))
    if not REASON_CHARS_MIN <= len(reason.strip()) <= REASON_CHARS_MAX:
        errors.append(FieldError("reason", f"{REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters"))
    if not 0 < ttl_s <= TTL_S_MAX:
        errors.append(FieldError("ttl_s", f"above 0, at most {TTL_S_MAX}"))
    if errors:
        raise InvalidRequestError("the override cannot be set as it is", errors=errors)
    return OverrideOrder(
        dependency=dependency,
        caller=caller,
        mode=mode,
        actor=actor,
        reason=reason.strip(),
        set_at=now,
        expires_at=now + timedelta(seconds=ttl_s),
        fault=fault,
    )


def undelivered(orders: Iterable[OverrideOrder], edges: Iterable[Edge], *, laid_by: str) -> tuple[OverrideOrder, ...]:
    """The orders that some edge does not show though it reported after they were given: its process started since.

    An order without a mode has the end of the override it lifts. The narrower order governs an edge; what was laid for
    every caller is not meant for `laid_by`, the process that lays.
    """
    given = {(order.dependency, order.caller): order for order in orders}
    missing: dict[tuple[str, str | None], OverrideOrder] = {}
    for edge in edges:
        callers = (edge.caller,) if edge.caller == laid_by else (edge.caller, None)
        known = [given[edge.dependency, caller] for caller in callers if (edge.dependency, caller) in given]
        fitting = [order for order in known if not edge.stale and order.set_at < edge.as_of]
        shown = edge.override.expires_at if edge.override is not None else None
        late = [order for order in fitting if order.mode is None and order.expires_at == shown]
        governing = next((order for order in fitting if order.mode is not None), None)
        if governing is not None and governing.expires_at != shown:
            late.append(governing)
        missing.update({(order.dependency, order.caller): order for order in late})
    return tuple(missing.values())
