"""Incidents: one for each dependency that some caller's circuit is not closed to. Pure.

The first version names the dependency and its callers; finding the deepest failing edge is the console's issue.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.gateway.ops.edges.domain import Circuit, Edge

RESOLVED_MAX = 200


@dataclass(frozen=True, slots=True)
class Incident:
    """Open until every circuit to the dependency is closed again."""

    id: str
    dependency: str
    callers: tuple[str, ...]
    opened_at: datetime
    resolved_at: datetime | None = None
    acknowledged_by: str = ""

    @property
    def title(self) -> str:
        return f"{self.dependency} is failing"


@dataclass(slots=True)
class IncidentBook:
    """The incidents, newest first. Ids follow from dependency and time, so that every reader names one alike."""

    _open: dict[str, Incident] = field(default_factory=dict)
    _resolved: list[Incident] = field(default_factory=list)

    def judge(self, edges: Iterable[Edge], now: datetime) -> list[Incident]:
        """Opens, widens and resolves incidents; answers those that were opened or resolved.

        A stale edge keeps its incident as it is: silence neither opens nor resolves one.
        """
        failing: dict[str, set[str]] = {}
        silent: set[str] = set()
        for edge in edges:
            if edge.stale:
                silent.add(edge.dependency)
            elif edge.state is not Circuit.CLOSED:
                failing.setdefault(edge.dependency, set()).add(edge.caller)
        changed = []
        for dependency, callers in failing.items():
            known = self._open.get(dependency)
            if known is None:
                known = Incident(f"{dependency}-{now:%Y%m%dT%H%M%S}", dependency, (), now)
                changed.append(replace(known, callers=tuple(sorted(callers))))
            self._open[dependency] = replace(known, callers=tuple(sorted({*known.callers, *callers})))
        for dependency in set(self._open) - set(failing) - silent:
            resolved = replace(self._open.pop(dependency), resolved_at=now)
            self._resolved = [resolved, *self._resolved][:RESOLVED_MAX]
            changed.append(resolved)
        return changed

    def open(self) -> tuple[Incident, ...]:
        """Those that go on, oldest first."""
        return tuple(sorted(self._open.values(), key=lambda incident: incident.opened_at))

    def all(self) -> tuple[Incident, ...]:
        """Those that go on, then the resolved ones, newest first."""
        return (*self.open(), *self._resolved)

    def acknowledge(self, incident_id: str, actor: str) -> Incident | None:
        """The incident, acknowledged; None when no open one has this id."""
        for dependency, incident in self._open.items():
            if incident.id == incident_id:
                self._open[dependency] = replace(incident, acknowledged_by=actor)
                return self._open[dependency]
        return None
