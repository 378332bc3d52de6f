"""Replays of creating requests, against a real PostgreSQL."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from breakwater.chassis import idempotency
from breakwater.chassis.database import Database
from breakwater.chassis.errors import ConflictError, IdempotencyMismatchError, NotFoundError
from breakwater.chassis.idempotency import KeyedRequest

REQUEST = KeyedRequest(actor="1001", route="CreateLead", key="first", body_hmac=b"\x01" * 32)


async def create(db: Database, request: KeyedRequest, answer: bytes) -> bytes:
    """A creating request as a store writes it."""
    async with db.transaction() as tx:
        first = await idempotency.replay(tx, request)
        if first is None:
            await tx.execute("INSERT INTO effects (body) VALUES ($1)", answer.decode())
            await idempotency.store(tx, request, answer)
        return first or answer


async def effects(db: Database) -> list[str]:
    async with db.read() as reader:
        return [row["body"] for row in await reader.fetch("SELECT body FROM effects ORDER BY position")]


async def test_a_replay_gets_the_first_answer(db: Database) -> None:
    """The same key and body again does nothing and answers as the first time."""
    assert await create(db, REQUEST, b"one") == b"one"
    assert await create(db, REQUEST, b"two") == b"one"
    assert await effects(db) == ["one"]


async def test_a_key_belongs_to_its_actor_and_route(db: Database) -> None:
    """Another person's request with the same key is another request."""
    await create(db, REQUEST, b"one")
    assert await create(db, replace(REQUEST, actor="1002"), b"two") == b"two"
    assert await create(db, replace(REQUEST, route="CreateExport"), b"three") == b"three"


async def test_another_body_under_the_same_key_is_refused(db: Database) -> None:
    """The mismatch is an error of the caller's and leaves no effect."""
    await create(db, REQUEST, b"one")
    with pytest.raises(IdempotencyMismatchError):
        await create(db, replace(REQUEST, body_hmac=b"\x02" * 32), b"two")
    assert await effects(db) == ["one"]


async def test_a_request_without_a_key_is_never_a_replay(db: Database) -> None:
    """Callers who send no key get a new effect each time."""
    request = replace(REQUEST, key="")
    assert await create(db, request, b"one") == b"one"
    assert await create(db, request, b"two") == b"two"
    assert await effects(db) == ["one", "two"]


async def test_a_failed_request_may_be_tried_again(db: Database) -> None:
    """Nothing is remembered of a request whose transaction failed."""
    with pytest.raises(NotFoundError):
        async with db.transaction() as tx:
            assert await idempotency.replay(tx, REQUEST) is None
            await idempotency.store(tx, REQUEST, b"one")
            raise NotFoundError("no such customer")
    assert await create(db, REQUEST, b"two") == b"two"


async def test_a_request_in_flight_is_a_conflict_at_once(db: Database) -> None:
    """A twin does not wait for the first request: it is told to come back."""
    async with db.transaction() as tx:
        assert await idempotency.replay(tx, REQUEST) is None
        with pytest.raises(ConflictError) as caught:
            await create(db, REQUEST, b"two")
        await idempotency.store(tx, REQUEST, b"one")
    assert caught.value.code == "idempotency_key_in_flight"
    assert caught.value.retry_after_s
    assert await create(db, REQUEST, b"three") == b"one"


async def test_many_twins_at_once_have_one_effect(db: Database) -> None:
    """However requests with one key collide, one is done and the others learn of it."""

    async def attempt(number: int) -> bytes | ConflictError:
        try:
            return await create(db, REQUEST, str(number).encode())
        except ConflictError as error:
            return error

    outcomes = await asyncio.gather(*(attempt(number) for number in range(30)))
    answers = {outcome for outcome in outcomes if isinstance(outcome, bytes)}
    assert len(answers) == 1
    assert await effects(db) == [answers.pop().decode()]


async def test_a_micro_batch_is_judged_request_by_request(db: Database) -> None:
    """One round trip tells new, replayed, mismatched and keyless requests apart, and twins within the batch."""
    old = replace(REQUEST, key="old")
    await create(db, old, b"old answer")
    new, keyless = replace(REQUEST, key="new"), replace(REQUEST, key="")
    batch = [new, old, replace(old, body_hmac=b"?"), keyless, keyless, new, old]
    async with db.transaction() as tx:
        found: list[Any] = await idempotency.replay_many(tx, batch)
        await idempotency.store_many(tx, [(new, b"new answer"), (keyless, b"nothing")])
    assert [found[place] for place in (0, 1, 3, 4, 6)] == [None, b"old answer", None, None, b"old answer"]
    assert [type(found[place]) for place in (2, 5)] == [IdempotencyMismatchError, ConflictError]
    assert await create(db, new, b"again") == b"new answer"
