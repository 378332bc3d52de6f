"""The object store as files uses it, answering the vectors of contracts/external/object-store."""

from contextlib import suppress
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError

from breakwater.chassis.errors import BreakwaterError, NotFoundError
from breakwater.resilience import Policy, PolicySettings
from services.files.exports.objects import ObjectStore, classify


class FolderProvider:
    """A local folder. What `ObjectStore` has no verb for is asked of the same store below it."""

    live = False

    def __init__(self, folder) -> None:
        policy = Policy(PolicySettings(caller="files", dependency="objects", calls_min=100), classify=classify)
        self.store = ObjectStore(folder.as_uri(), policy)
        self.vectors = 0

    async def answer(self, vector: Any) -> dict[str, Any]:
        self.vectors += 1
        answer: dict[str, Any] = {}
        for verb, key, *rest in vector.do:
            try:
                answer = await getattr(self, verb)(f"{self.vectors}/{key}", *rest)
            except NotFoundError:
                answer = {"error": "missing"}
            except AlreadyExistsError:
                answer = {"error": "exists"}
            except BreakwaterError:
                answer = {"error": "failed"}
        return answer

    async def put(self, key: str, text: str) -> dict[str, Any]:
        async with self.store.writing(key) as write:
            await write(text.encode())
        return {}

    async def create(self, key: str, text: str) -> dict[str, Any]:
        await obstore.put_async(self.store._store, key, text.encode(), mode="create")
        return {}

    async def abandon(self, key: str, text: str) -> dict[str, Any]:
        with suppress(ZeroDivisionError):
            async with self.store.writing(key) as write:
                await write(text.encode())
                _ = 1 / 0
        return {}

    async def get(self, key: str) -> dict[str, Any]:
        found = await self.store._ask(lambda: obstore.get_async(self.store._store, key))
        return {"text": bytes(await found.bytes_async()).decode()}

    async def range(self, key: str, start: int, end: int) -> dict[str, Any]:
        pieces = [piece async for piece in self.store.read(key, start, end - start)]
        return {"text": b"".join(pieces).decode()}

    async def delete(self, key: str) -> dict[str, Any]:
        await self.store.delete(key)
        return {}
