"""Signals in PostgreSQL: a request's signal, its score and its answer are one transaction; so is an event's effect."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from breakwater.chassis import idempotency
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.idempotency import KeyedRequest
from breakwater.chassis.identity import Actor
from breakwater.health.v1.health_pb2 import RecordSignalResponse
from services.health.scoring.store import DUE, VISIBLE, TransactionScores
from services.health.signals.domain import Signal
from services.health.signals.usecases import Recorded
from services.health.translation import recorded_from_wire, recorded_to_wire

ROUTE = "RecordSignal"

_ADD = """
INSERT INTO signals (id, customer_id, kind, value, occurred_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::numeric[], $5::timestamptz[])
ON CONFLICT (id) DO NOTHING
"""

_TAKE_IN = """
WITH told AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS t (customer_id, owner_id, at)
), known AS (
    INSERT INTO customers (customer_id, owner_id, known_at) SELECT customer_id, owner_id, at FROM told
    ON CONFLICT (customer_id) DO UPDATE SET owner_id = excluded.owner_id, known_at = excluded.known_at
    WHERE excluded.owner_id <> '' AND (excluded.known_at >= customers.known_at OR customers.owner_id = '')
), added AS (
    INSERT INTO signals (id, customer_id, kind, value, occurred_at)
    SELECT * FROM unnest($4::text[], $5::text[], $6::text[], $7::numeric[], $8::timestamptz[])
    ON CONFLICT (id) DO NOTHING
)
INSERT INTO rescore_due (customer_id, since) SELECT customer_id, at FROM told ON CONFLICT DO NOTHING
"""

_PERSON = """
INSERT INTO people (person_id, team_id, sequence) VALUES ($1, $2, $3)
ON CONFLICT (person_id) DO UPDATE SET team_id = excluded.team_id, sequence = excluded.sequence
WHERE excluded.sequence > people.sequence
"""


class RequestTransaction(TransactionScores):
    """Signals and scores within the transaction of one request."""

    def __init__(self, tx: Transaction, request: KeyedRequest) -> None:
        super().__init__(tx)
        self._request = request

    async def replay(self) -> Recorded | None:
        first = await idempotency.replay(self._tx, self._request)
        return recorded_from_wire(RecordSignalResponse.FromString(first)) if first is not None else None

    async def remember(self, recorded: Recorded) -> None:
        await idempotency.store(self._tx, self._request, recorded_to_wire(recorded).SerializeToString())

    async def visible(self, actor: Actor, customer_id: str) -> bool:
        sql = f"SELECT 1 FROM customers c WHERE {VISIBLE} AND c.customer_id = $3"  # noqa: S608 (a constant)
        return await self._tx.fetchval(sql, actor.scope.value, actor.sub, customer_id) is not None

    async def add(self, signals: Sequence[Signal]) -> None:
        await self._tx.execute(
            _ADD,
            [signal.id for signal in signals],
            [signal.customer_id for signal in signals],
            [signal.kind for signal in signals],
            [signal.value for signal in signals],
            [signal.occurred_at for signal in signals],
        )


class SignalStore:
    """Transactions for requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def signals(self, actor: Actor, key: str, body_hmac: bytes) -> AsyncIterator[RequestTransaction]:
        async with self._database.transaction() as tx:
            yield RequestTransaction(tx, KeyedRequest(actor.sub, ROUTE, key, body_hmac))


@dataclass(frozen=True, slots=True)
class Told:
    """What one event of leads says of a customer. An empty owner leaves the known one."""

    customer_id: str
    owner_id: str
    at: datetime
    signals: tuple[Signal, ...] = ()


async def take_in(tx: Transaction, told: Sequence[Told]) -> None:
    """The effect of events of leads, in their transaction: customers are known, signals stored, scores due.

    A later event's owner wins over an earlier one's, whatever the order of arrival.
    """
    owners: dict[str, tuple[str, datetime]] = {}
    for each in sorted(told, key=lambda each: each.at):
        known = owners.get(each.customer_id, ("", each.at))
        owners[each.customer_id] = (each.owner_id or known[0], each.at)
    # In one order everywhere, so that replicas do not wait for each other in a circle.
    customer_ids = sorted(owners)
    signals = [signal for each in told for signal in each.signals]
    await tx.execute(
        _TAKE_IN,
        customer_ids,
        [owners[customer_id][0] for customer_id in customer_ids],
        [owners[customer_id][1] for customer_id in customer_ids],
        [signal.id for signal in signals],
        [signal.customer_id for signal in signals],
        [signal.kind for signal in signals],
        [signal.value for signal in signals],
        [signal.occurred_at for signal in signals],
    )
    tx.announce(DUE)


async def learn_person(tx: Transaction, *, person_id: str, team_id: str, sequence: int) -> None:
    """Keeps a person's team unless a later event was seen."""
    await tx.execute(_PERSON, person_id, team_id, sequence)
