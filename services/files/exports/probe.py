"""The harmless question to the live object store: an object of our own is written, read and removed, and is gone then."""

from breakwater.chassis.errors import NotFoundError
from services.files.exports.objects import ObjectStore

CONTENT = b"breakwater"


async def look_at(store: ObjectStore, instance: str) -> str | None:
    """What differs from contracts/external/object-store, or None. Raises what the store raises. `instance` names the object."""
    key = f"probes/{instance}"
    async with store.writing(key) as write:
        await write(CONTENT)
    read = b"".join([piece async for piece in store.read(key, 0, len(CONTENT))])
    await store.delete(key)
    if read != CONTENT:
        return "what was written is not what was read"
    try:
        async for _ in store.read(key, 0, len(CONTENT)):
            return "a deleted object can still be read"
    except NotFoundError:
        return None
    return "a deleted object can still be read"
