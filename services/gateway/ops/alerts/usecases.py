"""Taking alerts, on the record beside the incident each belongs to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from breakwater.chassis.clock import Clock
from services.gateway.ops.alerts.domain import Alert, AlertBook, Changed, Told

SETTLE_S = 5.0


class Incidents(Protocol):
    """The incidents that are open."""

    def incident_of(self, caller: str, dependency: str) -> str:
        """The id of the open incident that this edge, or with an empty caller this dependency, is part of; or empty."""
        ...


class Record(Protocol):
    """The audit."""

    def alert_changed(self, what: Changed, incident_id: str) -> None: ...


@dataclass(slots=True)
class Alerts:
    """The verbs. Alerts are symptoms: the incident engine finds the cause by itself and alone pages for it."""

    incidents: Incidents
    record: Record
    clock: Clock
    _book: AlertBook = field(default_factory=AlertBook)

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
        """Ends what is not heard of any more, for as long as it is awaited."""
        while True:
            self.follow_silence()
            await self.clock.sleep(SETTLE_S)

    def _follow(self, changed: list[Changed]) -> list[Changed]:
        for each in changed:
            self.record.alert_changed(each, self._incident_of(each.alert))
        return changed

    def _incident_of(self, alert: Alert) -> str:
        return self.incidents.incident_of(alert.caller, alert.dependency) if alert.dependency else ""
