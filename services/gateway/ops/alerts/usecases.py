"""Taking alerts, on the record beside the incident each belongs to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from breakwater.chassis.clock import Clock
from services.gateway.ops.alerts.domain import Alert, AlertBook, Changed, Told

SETTLE_S = 5.0
UNEXPLAINED_S = 60.0
"""The incident engine needs some seconds, and so many calls, to be certain of a cause: what it has not explained by then is told
as it is."""


class Incidents(Protocol):
    """The incidents that are open."""

    def incident_of(self, caller: str, dependency: str) -> str:
        """The id of the open incident that this edge, or with an empty caller this dependency, is part of; or empty."""
        ...

    def accounts_for(self, alert: Alert) -> bool:
        """Whether somebody was called for what it is about, now or not long before it began."""
        ...


class Record(Protocol):
    """The audit."""

    def alert_changed(self, what: Changed, incident_id: str) -> None: ...


class OnCall(Protocol):
    """The ways to people."""

    def alert_unexplained(self, alert: Alert, *, firing: bool) -> None:
        """It fires and no incident says why, or that is over; on its way to on-call, at once."""
        ...


@dataclass(slots=True)
class Alerts:
    """The verbs. Alerts are symptoms: the incident engine finds the cause by itself and pages for it.

    One that must wake somebody, and that no incident explains, is told by itself, once.
    """

    incidents: Incidents
    record: Record
    oncall: OnCall
    clock: Clock
    _book: AlertBook = field(default_factory=AlertBook)
    _unexplained: dict[str, float] = field(default_factory=dict)
    """Since when, by the key of the alert."""
    _told: set[str] = field(default_factory=set)

    def take(self, told: Iterable[Told]) -> list[Changed]:
        """Takes what Alertmanager tells; what of it was new."""
        return self._follow(self._book.take(told, self.clock.monotonic()))

    def firing(self) -> list[tuple[Alert, str]]:
        """Every firing alert with the id of the open incident it belongs to, or an empty one."""
        return [(alert, self._incident_of(alert)) for alert in self._book.firing()]

    def follow_silence(self) -> list[Changed]:
        """Ends what was not heard of for too long; what was ended."""
        return self._follow(self._book.settle(self.clock.monotonic()))

    async def run(self) -> None:
        """Ends what is not heard of any more and tells what nothing explains, for as long as it is awaited."""
        while True:
            self.follow_silence()
            self.tell_unexplained()
            await self.clock.sleep(SETTLE_S)

    def tell_unexplained(self) -> None:
        """Calls somebody for what has fired long enough without an incident; one that is explained once is not told later."""
        now_s = self.clock.monotonic()
        for alert in self._book.firing():
            since_s = self._unexplained.get(alert.key)
            if since_s is None:
                continue
            explained = self.incidents.accounts_for(alert)
            if explained or now_s - since_s >= UNEXPLAINED_S:
                del self._unexplained[alert.key]
            if not explained and alert.key not in self._unexplained:
                self._told.add(alert.key)
                self.oncall.alert_unexplained(alert, firing=True)

    def _follow(self, changed: list[Changed]) -> list[Changed]:
        for each in changed:
            alert = each.alert
            self.record.alert_changed(each, self._incident_of(alert))
            if each.firing and alert.wakes:
                self._unexplained[alert.key] = self.clock.monotonic()
            elif not each.firing:
                self._unexplained.pop(alert.key, None)
                if alert.key in self._told:
                    self._told.discard(alert.key)
                    self.oncall.alert_unexplained(alert, firing=False)
        return changed

    def _incident_of(self, alert: Alert) -> str:
        return self.incidents.incident_of(alert.caller, alert.dependency) if alert.dependency else ""
