"""Incidents in PostgreSQL: they outlive the process, and replicas that were cut off from each other agree on a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from breakwater.chassis.database import Database
from breakwater.chassis.logging import get_logger
from services.gateway.ops.incidents.domain import Action, Cause, Incident, Step

INCIDENTS_MAX = 200

# Replicas save one after the other: whoever comes second finds the first one's name.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('breakwater.ops.incidents', 0))"
_SAVE = """
INSERT INTO incidents (id, key, opened_at, resolved_at, content)
SELECT $1::text, $2::text, $3::timestamptz, $4::timestamptz, $5::jsonb
WHERE $4::timestamptz IS NOT NULL
   OR NOT EXISTS (SELECT FROM incidents WHERE key = $2::text AND id <> $1::text AND resolved_at IS NULL)
ON CONFLICT (id) DO UPDATE SET key = excluded.key, resolved_at = excluded.resolved_at, content = excluded.content
"""
_ACT = """
INSERT INTO incident_actions (id, incident_id, at, step, actor, recipient, note)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""
_LOAD = """
SELECT id, opened_at, resolved_at, content FROM incidents
WHERE resolved_at IS NULL OR resolved_at >= $1 ORDER BY opened_at DESC LIMIT $2
"""
_ACTIONS = "SELECT id, incident_id, at, step, actor, recipient, note FROM incident_actions WHERE incident_id = ANY($1)"

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Content:
    cause: Cause
    relapses: int
    pages: int
    failed: float
    degraded: float
    journeys: tuple[str, ...]
    changes: tuple[str, ...]
    owner: str
    unknown: bool = False


class PostgresIncidents:
    """Keeps every incident, and what was done about it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, resolved_after: datetime) -> list[Incident]:
        """Those that go on, and those resolved since, the newest. Raises `UnavailableError`."""
        async with self._database.read() as reader:
            rows = await reader.fetch(_LOAD, resolved_after, INCIDENTS_MAX)
            acted = await reader.fetch(_ACTIONS, [row["id"] for row in rows]) if rows else []
        actions: dict[str, list[Action]] = {}
        for row in acted:
            actions.setdefault(row["incident_id"], []).append(_action(row))
        found = [_incident(row) for row in rows]
        return [each.with_actions(actions.get(each.id, ())) for each in found if each is not None]

    async def save(self, incidents: Sequence[Incident], actions: Sequence[Action]) -> None:
        """Adds or replaces; what another replica has named is left to it. Raises `UnavailableError`."""
        async with self._database.transaction() as tx:
            await tx.execute(_LOCK)
            for each in incidents:
                content = msgspec.json.encode(_content(each)).decode()
                await tx.execute(_SAVE, each.id, each.cause.key, each.opened_at, each.resolved_at, content)
            for action in actions:
                who = (action.step.value, action.actor, action.to, action.note)
                await tx.execute(_ACT, UUID(action.id), action.incident_id, action.at, *who)


def _content(incident: Incident) -> _Content:
    return _Content(**{name: getattr(incident, name) for name in _Content.__dataclass_fields__})


def _incident(row: Any) -> Incident | None:
    try:
        content = msgspec.json.decode(row["content"], type=_Content)
    except msgspec.ValidationError as error:
        # Of a later release, before somebody went back to the pin.
        _log.warning("incident_unreadable", id=row["id"], problem=str(error))
        return None
    kept = {name: getattr(content, name) for name in _Content.__dataclass_fields__}
    return Incident(id=row["id"], opened_at=row["opened_at"], resolved_at=row["resolved_at"], **kept)


def _action(row: Any) -> Action:
    step, to = Step(row["step"]), row["recipient"]
    return Action(str(row["id"]), row["incident_id"], row["at"], step, row["actor"], to, row["note"])
