"""What is observed of a customer. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from breakwater.chassis.errors import FieldError, InvalidRequestError

# A clock of another system may run ahead a little; a signal from further in the future is a mistake.
FUTURE_TOLERANCE = timedelta(minutes=5)
VALUE_MAX = Decimal("1e15")
KIND_CHARS_MAX = 60


@dataclass(frozen=True, slots=True)
class Signal:
    """One observation. `value` is an amount, a score, or 1 where only the fact counts."""

    id: str
    customer_id: str
    kind: str
    value: Decimal
    occurred_at: datetime


def signal(
    *,
    signal_id: str,
    customer_id: str,
    kind: str,
    value: str,
    occurred_at: datetime | None,
    kinds: frozenset[str],
    now: datetime,
) -> Signal:
    """A signal from a caller's words. Raises `InvalidRequestError` naming every field that cannot be."""
    errors = []
    if kind not in kinds:
        errors.append(FieldError("kind", f"one of {', '.join(sorted(kinds))}"))
    number = _decimal(value)
    if number is None:
        errors.append(FieldError("value", "a decimal number"))
    moment = occurred_at or now
    if moment > now + FUTURE_TOLERANCE:
        errors.append(FieldError("occurred_at", "lies in the future"))
    if errors or number is None:
        raise InvalidRequestError("the signal cannot be taken as it is", errors=errors)
    return Signal(signal_id, customer_id, kind, number, moment)


def _decimal(value: str) -> Decimal | None:
    try:
        number = Decimal(value or "1")
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) <= VALUE_MAX else None
