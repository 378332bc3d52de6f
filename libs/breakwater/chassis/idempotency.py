"""Safe retry: the first answer to an Idempotency-Key is kept in the transaction of its effect (api.md).

`replay` at the beginning of the transaction, `store` at its end. A failed request keeps nothing and may be tried again.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from asyncpg import Record

from breakwater.chassis.database import Transaction, UniqueViolationError
from breakwater.chassis.errors import BreakwaterError, ConflictError, IdempotencyMismatchError

KEEP: Final = timedelta(hours=48)
"""How long a key is remembered at least; callers are told."""
IN_FLIGHT_RETRY_AFTER_S: Final = 1.0

# The lock lasts until the transaction ends: it marks the key as in flight. A twin whose snapshot was taken before the
# first one's commit and its lock after it is caught by the primary key.
_LOOK_UP = """
SELECT asked.place, pg_try_advisory_xact_lock(asked.lock) AS free, kept.body_hmac, kept.response
FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[], $5::text[]) AS asked(place, lock, actor, route, key)
LEFT JOIN idempotency AS kept USING (actor, route, key)
"""
_STORE = """
INSERT INTO idempotency (actor, route, key, body_hmac, response)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[])
"""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """One creating request. `route` names the RPC, `actor` is `Actor.sub`; `key` is empty when the caller sent none."""

    actor: str
    route: str
    key: str
    body_hmac: bytes

    @property
    def identity(self) -> tuple[str, str, str]:
        """What two requests share when one is the other's replay."""
        return self.actor, self.route, self.key


async def replay(tx: Transaction, request: KeyedRequest) -> bytes | None:
    """The first answer to this key, or None when it is new; always None without a key.

    Raises `IdempotencyMismatchError` when the key came with another body, `ConflictError` (code
    `idempotency_key_in_flight`) while the first request with this key is still running.
    """
    found = (await replay_many(tx, [request]))[0]
    if isinstance(found, BreakwaterError):
        raise found
    return found


async def store(tx: Transaction, request: KeyedRequest, response: bytes) -> None:
    """Keeps the answer; nothing without a key."""
    await store_many(tx, [(request, response)])


async def replay_many(tx: Transaction, requests: Sequence[KeyedRequest]) -> list[bytes | BreakwaterError | None]:
    """`replay` for a micro-batch, in one round trip: the error stands where `replay` would raise it."""
    identities = list(dict.fromkeys(request.identity for request in requests if request.key))
    if not identities:
        return [None] * len(requests)
    rows = await tx.fetch(
        _LOOK_UP,
        list(range(len(identities))),
        [_lock(identity) for identity in identities],
        *(list(column) for column in zip(*identities, strict=True)),
    )
    kept = {identities[row["place"]]: row for row in rows}
    new: set[tuple[str, str, str]] = set()
    found: list[bytes | BreakwaterError | None] = []
    for request in requests:
        judged = _judged(request, kept[request.identity]) if request.key else None
        if judged is None and request.key:
            # Its twin is in this very batch; the lock would not tell them apart.
            judged = _in_flight() if request.identity in new else None
            new.add(request.identity)
        found.append(judged)
    return found


async def store_many(tx: Transaction, answers: Sequence[tuple[KeyedRequest, bytes]]) -> None:
    """`store` for a micro-batch, in one round trip. Raises `ConflictError` when a twin was faster."""
    rows = [(*request.identity, request.body_hmac, response) for request, response in answers if request.key]
    if not rows:
        return
    try:
        await tx.execute(_STORE, *(list(column) for column in zip(*rows, strict=True)))
    except UniqueViolationError as error:
        raise _in_flight() from error


def _judged(request: KeyedRequest, row: Record) -> bytes | BreakwaterError | None:
    if row["body_hmac"] is None:
        return None if row["free"] else _in_flight()
    if not hmac.compare_digest(row["body_hmac"], request.body_hmac):
        return IdempotencyMismatchError("This Idempotency-Key was used with another body; use a new key.")
    response: bytes = row["response"]
    return response


def _in_flight() -> ConflictError:
    return ConflictError(
        "The first request with this Idempotency-Key is still running.",
        code="idempotency_key_in_flight",
        retry_after_s=IN_FLIGHT_RETRY_AFTER_S,
    )


def _lock(identity: tuple[str, str, str]) -> int:
    digest = hashlib.blake2b("\0".join(identity).encode(), digest_size=8, person=b"idempotency")
    return int.from_bytes(digest.digest(), "big", signed=True)
