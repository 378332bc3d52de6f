"""Scores in PostgreSQL: a score and the events it causes are one transaction."""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from asyncpg import Record
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.identity import Actor
from breakwater.chassis.outbox import OutboxEvent
from breakwater.health.v1.events_pb2 import CareNeeded, HealthChanged
from services.health.scoring.domain import Health, Layer, Measure, Model, Observation, Reason
from services.health.scoring.usecases import Observations, Page

# The topic a transaction announces when it left customers to be scored.
DUE = "rescore-due"

# Whose customers an actor sees: $1 is the scope, $2 the actor's own id; `c` is the customer.
VISIBLE = """
($1 = 'all' OR c.owner_id = $2 OR ($1 = 'team' AND c.owner_id IN (
    SELECT mate.person_id FROM people me JOIN people mate ON mate.team_id = me.team_id
    WHERE me.person_id = $2 AND me.team_id <> '')))
"""

_EVER = datetime(1970, 1, 1, tzinfo=UTC)

_OBSERVE = """
WITH metric AS (SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS m (name, kind, since))
SELECT s.customer_id, m.name,
       count(*) FILTER (WHERE s.occurred_at >= m.since) AS count,
       coalesce(sum(s.value) FILTER (WHERE s.occurred_at >= m.since), 0)::float8 AS sum,
       avg((s.value = 1)::int) FILTER (WHERE s.occurred_at >= m.since)::float8 AS share,
       (array_agg(s.value ORDER BY s.occurred_at DESC) FILTER (WHERE s.occurred_at >= m.since))[1]::float8 AS latest
FROM signals s JOIN metric m ON m.kind = s.kind
WHERE s.customer_id = ANY($4)
GROUP BY s.customer_id, m.name
"""

_PUT = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::float8[], $3::text[], $4::bool[], $5::text[], $6::bigint[])
        AS g (customer_id, score, grade, needs_care, layers, signals)
), before AS (
    SELECT o.customer_id, o.grade, o.needs_care FROM scores o JOIN given g USING (customer_id)
), written AS (
    INSERT INTO scores (customer_id, score, grade, needs_care, layers, signals, model_version, scored_at, sequence)
    SELECT g.customer_id, g.score, g.grade, g.needs_care, g.layers::jsonb, g.signals, $7, $8, 1 FROM given g
    ON CONFLICT (customer_id) DO UPDATE SET score = excluded.score, grade = excluded.grade,
        needs_care = excluded.needs_care, layers = excluded.layers, signals = excluded.signals,
        model_version = excluded.model_version, scored_at = excluded.scored_at, sequence = scores.sequence + 1
    RETURNING customer_id, sequence
)
SELECT w.customer_id, w.sequence, b.grade AS grade_before, b.needs_care AS needed_care
FROM written w LEFT JOIN before b USING (customer_id)
"""

_COLUMNS = "s.customer_id, s.score, s.grade, s.needs_care, s.layers, s.signals, s.model_version, s.scored_at"
_GET = f"SELECT {_COLUMNS} FROM scores s JOIN customers c USING (customer_id) WHERE {VISIBLE} AND s.customer_id = $3"  # noqa: S608
_PAGE = f"""
SELECT {_COLUMNS} FROM scores s JOIN customers c USING (customer_id)
WHERE {VISIBLE} AND (NOT $3 OR s.needs_care) AND ($4::float8 IS NULL OR (s.score, s.customer_id) > ($4, $5))
ORDER BY s.score, s.customer_id LIMIT $6
"""  # noqa: S608 (only constants of this module are put in)

_TAKE_DUE = """
DELETE FROM rescore_due WHERE customer_id IN (
    SELECT customer_id FROM rescore_due ORDER BY since LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING customer_id, since
"""


class TransactionScores:
    """The scores seen from within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def observe(self, model: Model, customer_ids: Sequence[str], now: datetime) -> dict[str, Observations]:
        """What each metric measures; a metric whose kinds were never seen is absent."""
        pairs = [(metric, kind) for metric in model.metrics for kind in metric.kinds]
        since = [now - timedelta(days=m.window_days) if m.window_days else _EVER for m, _ in pairs]
        ids = list(customer_ids)
        rows = await self._tx.fetch(_OBSERVE, [m.name for m, _ in pairs], [kind for _, kind in pairs], since, ids)
        counts = await self._tx.fetch(
            "SELECT customer_id, count(*) AS signals FROM signals WHERE customer_id = ANY($1) GROUP BY 1", ids
        )
        measures = {metric.name: metric.measure for metric in model.metrics}
        found: dict[str, dict[str, Observation]] = {}
        for row in rows:
            value = _measured(measures[row["name"]], row)
            found.setdefault(row["customer_id"], {})[row["name"]] = Observation(value)
        return {row["customer_id"]: Observations(found.get(row["customer_id"], {}), row["signals"]) for row in counts}

    async def put(self, scored: Sequence[Health]) -> None:
        """Replaces the scores and publishes what changed."""
        if not scored:
            return
        # Those nothing is known of share one tuple of layers.
        shared = {id(health.layers): health.layers for health in scored}
        layers = {identity: layers_to_json(each) for identity, each in shared.items()}
        rows = await self._tx.fetch(
            _PUT,
            [health.customer_id for health in scored],
            [health.score for health in scored],
            [health.grade for health in scored],
            [health.needs_care for health in scored],
            [layers[id(health.layers)] for health in scored],
            [health.signals for health in scored],
            scored[0].model_version,
            scored[0].scored_at,
        )
        by_id = {health.customer_id: health for health in scored}
        events = [event for row in rows for event in _events(by_id[row["customer_id"]], row)]
        if events:
            await outbox.add(self._tx, events)

    async def take_due(self, customers_max: int) -> dict[str, datetime]:
        return {row["customer_id"]: row["since"] for row in await self._tx.fetch(_TAKE_DUE, customers_max)}

    async def start_nightly(self, now: datetime, next_at: datetime) -> bool:
        """Moves the run on and marks every customer; the row's lock lets one replica do it."""
        await self._tx.execute("INSERT INTO nightly (due_at) VALUES ($1) ON CONFLICT DO NOTHING", next_at)
        moved = await self._tx.execute("UPDATE nightly SET due_at = $2 WHERE due_at <= $1", now, next_at)
        if moved != "UPDATE 1":
            return False
        await self._tx.execute(
            "INSERT INTO rescore_due (customer_id, since) SELECT customer_id, $1 FROM customers ON CONFLICT DO NOTHING",
            now,
        )
        self._tx.announce(DUE)
        return True


class ScoreStore:
    """Transactions over the scores, and reading them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def scores(self) -> AsyncIterator[TransactionScores]:
        async with self._database.transaction() as tx:
            yield TransactionScores(tx)

    async def get(self, actor: Actor, customer_id: str) -> Health | None:
        async with self._database.read() as reader:
            row = await reader.fetchrow(_GET, actor.scope.value, actor.sub, customer_id)
        return health_from(row) if row else None

    async def page(self, actor: Actor, limit: int, cursor: str, *, needs_care: bool) -> Page:
        """A page, worst first. Raises `InvalidRequestError` for a cursor that is not ours."""
        score, customer_id = _place(cursor)
        view = (actor.scope.value, actor.sub)
        async with self._database.read() as reader:
            rows = await reader.fetch(_PAGE, *view, needs_care, score, customer_id, limit + 1)
        items = tuple(health_from(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, _cursor(items[-1]) if more else "")


def layers_to_json(layers: Sequence[Layer]) -> str:
    """The layers with their reasons as a JSON array."""
    return json.dumps([asdict(layer) for layer in layers], ensure_ascii=False)


def health_from(row: Record) -> Health:
    """A row of `score` as the domain has it."""
    layers = tuple(
        Layer(**{**layer, "reasons": tuple(Reason(**reason) for reason in layer["reasons"])})
        for layer in json.loads(row["layers"])
    )
    return Health(
        customer_id=row["customer_id"],
        score=row["score"],
        grade=row["grade"],
        needs_care=row["needs_care"],
        layers=layers,
        scored_at=row["scored_at"],
        signals=row["signals"],
        model_version=row["model_version"],
    )


def _measured(measure: Measure, row: Record) -> float:
    value: float | None = row[measure.value]
    return float(value or 0)


def _events(health: Health, row: Record) -> list[OutboxEvent]:
    events = []
    if row["grade_before"] is not None and row["grade_before"] != health.grade:
        at = Timestamp()
        at.FromDatetime(health.scored_at)
        changed = HealthChanged(
            customer_id=health.customer_id,
            score=health.score,
            from_grade=row["grade_before"],
            to_grade=health.grade,
            scored_at=at,
        )
        events.append(OutboxEvent.of(changed, subject_id=health.customer_id, sequence=row["sequence"]))
    if health.needs_care and not row["needed_care"]:
        care = CareNeeded(customer_id=health.customer_id, score=health.score, reason=health.costliest_reason())
        events.append(OutboxEvent.of(care, subject_id=health.customer_id, sequence=row["sequence"]))
    return events


def _cursor(health: Health) -> str:
    return base64.urlsafe_b64encode(json.dumps([health.score, health.customer_id]).encode()).decode()


def _place(cursor: str) -> tuple[float | None, str]:
    if not cursor:
        return None, ""
    try:
        score, customer_id = json.loads(base64.urlsafe_b64decode(cursor))
        return float(score), str(customer_id)
    except (ValueError, TypeError) as error:
        raise InvalidRequestError("the cursor is not ours", errors=[FieldError("cursor", "unknown")]) from error
