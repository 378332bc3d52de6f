"""Alerts as Prometheus has them and Alertmanager brings them: which fire, since when, and which incident each is of. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

ALERTS_MAX = 1_000
"""Firing at a time; one more is not taken."""
SILENT_AFTER_S = 900.0
"""Alertmanager says it again every five minutes (deploy/alertmanager): one not heard of for so long is over, or cut off."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A firing alert. `key` is Alertmanager's fingerprint of the labels."""

    key: str
    name: str
    severity: str
    labels: Mapping[str, str]
    summary: str
    runbook: str
    since: datetime

    @property
    def dependency(self) -> str:
        """What it is about; empty where it is about no dependency, as that of a journey."""
        return self.labels.get("dependency", "")

    @property
    def caller(self) -> str:
        return self.labels.get("caller", "")

    @property
    def journey(self) -> str:
        return self.labels.get("journey", "")

    @property
    def wakes(self) -> bool:
        """Whether somebody must know at once, and Alertmanager leaves it to us to tell them (deploy/alertmanager)."""
        return self.severity == "critical" and "page" not in self.labels


@dataclass(frozen=True, slots=True)
class Told:
    """What Alertmanager says of one alert."""

    alert: Alert
    firing: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """An alert began or ended; `silent` when it ended because nobody spoke of it any more."""

    alert: Alert
    firing: bool
    silent: bool = False


@dataclass(slots=True)
class AlertBook:
    """The firing alerts, oldest first. Times are seconds of a monotonic clock, passed in."""

    _firing: dict[str, Alert] = field(default_factory=dict)
    _heard_s: dict[str, float] = field(default_factory=dict)

    def take(self, told: Iterable[Told], now_s: float) -> list[Changed]:
        """What of it is new: an alert that is told again, and an end of what was not known, change nothing."""
        changed = []
        for each in told:
            alert = each.alert
            known = self._firing.get(alert.key)
            if each.firing and (known is not None or len(self._firing) < ALERTS_MAX):
                self._firing[alert.key] = alert
                self._heard_s[alert.key] = now_s
                if known is None:
                    changed.append(Changed(alert, firing=True))
            elif not each.firing and known is not None:
                self._end(alert.key)
                changed.append(Changed(known, firing=False))
        return changed

    def settle(self, now_s: float) -> list[Changed]:
        """Ends what was not heard of for too long."""
        silent = [self._firing[key] for key, heard_s in self._heard_s.items() if now_s - heard_s > SILENT_AFTER_S]
        for alert in silent:
            self._end(alert.key)
        return [Changed(alert, firing=False, silent=True) for alert in silent]

    def firing(self) -> tuple[Alert, ...]:
        """Those that fire, oldest first."""
        return tuple(sorted(self._firing.values(), key=lambda alert: (alert.since, alert.key)))

    def _end(self, key: str) -> None:
        del self._firing[key]
        del self._heard_s[key]
