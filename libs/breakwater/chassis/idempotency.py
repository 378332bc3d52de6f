"""Safe retry: the first answer to an Idempotency-Key is kept in the transaction of its effect (api.md, `Idempotency-Key`).

`replay` at the beginning of the transaction, `store` at its end. A failed request keeps nothing, so it may be tried again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from breakwater.chassis.database import Transaction
from breakwater.chassis.errors import BreakwaterError


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """One creating request. `route` names the RPC, `actor` is `Actor.sub`; an empty `key` means the caller sent none."""

    actor: str
    route: str
    key: str
    body_hmac: bytes


async def replay(tx: Transaction, request: KeyedRequest) -> bytes | None:
    """The first answer to this key, or None when it is new; always None without a key.

    Raises `IdempotencyMismatchError` when the key came with another body, `ConflictError` (code
    `idempotency_key_in_flight`) while the first request with this key is still running.
    """
    raise NotImplementedError


async def store(tx: Transaction, request: KeyedRequest, response: bytes) -> None:
    """Keeps the answer; nothing without a key."""
    raise NotImplementedError


async def replay_many(tx: Transaction, requests: Sequence[KeyedRequest]) -> list[bytes | BreakwaterError | None]:
    """`replay` for a micro-batch, in one round trip: the error stands where `replay` would raise it."""
    raise NotImplementedError


async def store_many(tx: Transaction, answers: Sequence[tuple[KeyedRequest, bytes]]) -> None:
    """`store` for a micro-batch, in one round trip."""
    raise NotImplementedError
