"""Reading and changing documents (40): who may, and that nobody overwrites what they have not seen."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from breakwater.chassis.errors import ConflictError
from breakwater.chassis.identity import Actor, Role
from services.leads.documents.domain import KeptDocument
from services.leads.intake.usecases import permit

AUTHORS = frozenset({Role.MANAGER, Role.ADMIN})
"""Who changes what an organisation decides."""


class DocumentStore(Protocol):
    """One kind of document in one open transaction."""

    async def newest(self) -> KeptDocument: ...

    async def lock(self) -> None:
        """Whoever changes this kind next waits."""
        ...

    async def add(self, document: KeptDocument) -> None: ...


BeginDocuments = Callable[[], AbstractAsyncContextManager[DocumentStore]]


async def get_document(begin: BeginDocuments, actor: Actor) -> KeptDocument:
    """The version in force."""
    permit(actor)
    async with begin() as store:
        return await store.newest()


async def put_document(
    begin: BeginDocuments,
    actor: Actor,
    document: Mapping[str, Any],
    expected_version: int,
    check: Callable[[Mapping[str, Any], int], object],
    *,
    now: datetime,
) -> KeptDocument:
    """Puts a document in force with the next transaction, once `check` has read it.

    Raises what `check` raises, and ConflictError when another version than the expected one is in force (0: any).
    """
    permit(actor, AUTHORS)
    check(document, 0)
    async with begin() as store:
        await store.lock()
        newest = await store.newest()
        if expected_version not in {0, newest.version}:
            raise ConflictError(f"Version {newest.version} is in force, not {expected_version}.")
        kept = KeptDocument(newest.version + 1, document, actor.sub, now)
        await store.add(kept)
    return kept
