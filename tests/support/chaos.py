"""Faults laid on a policy, as an override would."""

from datetime import UTC, datetime, timedelta
from typing import Any

from breakwater.resilience import Override, OverrideMode, Policy
from breakwater.resilience.faults import Fault, FaultKind


def inject(policy: Policy, kind: FaultKind, **values: Any) -> None:
    """For a minute of the machine's clock; `values` are fields of `Fault`."""
    expires_at = datetime.now(UTC) + timedelta(minutes=1)
    policy.apply(Override(OverrideMode.CHAOS, "ann", "test", expires_at, Fault(kind=kind, **values)))
