"""An override as a person asks for it: what, on whose edge, why, and for how long. Pure (api.md, `.../override`)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from breakwater.chassis.errors import FieldError, InvalidRequestError

MODES = ("forced-open", "forced-closed", "shadow", "disabled", "fallback")
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


def order(
    *, dependency: str, caller: str | None, mode: str, actor: str, reason: str, ttl_s: float, now: datetime
) -> OverrideOrder:
    """The order, checked. Raises `InvalidRequestError` naming every field that cannot be."""
    errors = []
    if mode not in MODES:
        errors.append(FieldError("mode", f"one of {', '.join(MODES)}"))
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
    )
