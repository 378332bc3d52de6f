"""A request that creates something and its replay (api.md, Idempotency-Key), as use cases see them. Pure."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Keyed:
    """By what a replay is told from a new request. `key` is empty when the caller sent none."""

    actor: str
    route: str
    key: str
    body_hmac: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer as it was first given, encoded by the api."""

    content: bytes
    replayed: bool = False


class KeyedStore(Protocol):
    """What keeping answers needs of one open transaction."""

    async def first_answer(self, request: Keyed) -> bytes | None:
        """The first answer to the key, None when it is new; raises IdempotencyMismatchError for another body."""
        ...

    async def keep_answer(self, request: Keyed, content: bytes) -> None: ...


async def answer_once(store: KeyedStore, request: Keyed, work: Callable[[], Awaitable[bytes]]) -> Answer:
    """The answer of `work`, done in the transaction of `store` unless its key was answered before."""
    first = await store.first_answer(request)
    if first is not None:
        return Answer(first, replayed=True)
    content = await work()
    await store.keep_answer(request, content)
    return Answer(content)
