"""Taking a file, and telling how far its import is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import (
    FieldError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.ids import uuid7
from services.leads.idempotence import Keyed
from services.leads.intake.imports.domain import FileShape, Import, ImportLimits, Rejection, ReportedRow
from services.leads.intake.imports.fields import Dataset
from services.leads.intake.imports.mapping import Mapping
from services.leads.intake.usecases import permit

DEFAULT_MAPPING = "default"
FILENAME_CHARS_MAX = 200
REJECTIONS_PAGE_MAX = 1_000
REJECTIONS_PAGE = 100
BUSY_RETRY_AFTER_S = 1.0

_MAY_IMPORT_ALL = frozenset({Role.SERVICE, Role.MANAGER, Role.ADMIN})
"""Sellers bring leads; who is in the organisation and what other systems know is for these."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked to be imported."""

    filename: str
    mapping: str
    """The name of a shipped mapping; with a document, only a name for it."""
    mapping_document: str
    reassign: bool


@dataclass(frozen=True, slots=True)
class NewImport:
    """An import to be kept with its file."""

    id: str
    dataset: Dataset
    order: Order
    shape: FileShape
    started_by: str
    created_at: datetime


class ImportStore(Protocol):
    """What taking and showing imports needs."""

    async def add(self, new: NewImport, content: bytes, request: Keyed) -> tuple[Import, bool]:
        """Keeps import and file in one transaction with the request; returns its first import, and True on a replay.

        Raises IdempotencyMismatchError for a key used with another body.
        """
        ...

    async def get(self, import_id: str) -> Import | None:
        """The import as it is now."""
        ...

    async def report(self, import_id: str, after_row: int) -> tuple[list[ReportedRow], int]:
        """All rows of the next chunks behind `after_row`, and the last of them; 0 when there are no more."""
        ...

    async def rejections(self, import_id: str, after_row: int, limit: int) -> list[Rejection]:
        """Refused rows behind `after_row`, by row number."""
        ...


class Imports:
    """Takes files and tells of their imports."""

    def __init__(
        self,
        store: ImportStore,
        mapping_of: Callable[[str, str], Mapping],
        inspect: Callable[[bytes, Mapping, str, ImportLimits], FileShape],
        clock: Clock,
        limits: ImportLimits,
    ) -> None:
        self._store = store
        self._mapping_of = mapping_of
        self._inspect = inspect
        self._clock = clock
        self._limits = limits
        # Each holds a whole file in memory.
        self._free = limits.files_received_max

    async def start(
        self, actor: Actor, order: Order, content: AsyncIterator[bytes], request: Keyed
    ) -> tuple[Import, bool]:
        """Takes a file; when this returns, it is durable and will be imported. The flag: it was a replay.

        Raises InvalidRequestError with everything that can be told at once: an unknown mapping or one with errors, a
        file that is empty or cannot be read, headers that are missing. PayloadTooLargeError past `file_bytes_max`,
        PermissionDeniedError, OverloadedError while too many files are being received.
        """
        permit(actor)
        order = _checked(order)
        mapping = self._mapping_of(order.mapping, order.mapping_document)
        if mapping.dataset is not Dataset.LEADS:
            permit(actor, _MAY_IMPORT_ALL)
        if mapping.dataset is Dataset.PEOPLE and actor.scope is not Scope.ALL:
            # A file puts anybody into any team; one's own people are changed one by one.
            raise PermissionDeniedError("People are imported with scope all.")
        if self._free == 0:
            raise OverloadedError("Too many files are being received.", retry_after_s=BUSY_RETRY_AFTER_S)
        self._free -= 1
        try:
            file = await self._received(content)
            shape = await asyncio.to_thread(self._inspect, file, mapping, order.filename, self._limits)
            new = NewImport(uuid7(), mapping.dataset, order, shape, actor.sub, self._clock.now())
            return await self._store.add(new, file, request)
        finally:
            self._free += 1

    async def get(self, actor: Actor, import_id: str) -> Import:
        """The import, for who started it or may see everything; raises NotFoundError for anybody else."""
        permit(actor)
        found = await self._store.get(import_id)
        if found is None or (found.started_by != actor.sub and actor.scope is not Scope.ALL):
            raise NotFoundError("There is no such import.")
        return found

    async def rejections(self, actor: Actor, import_id: str, limit: int, cursor: str) -> tuple[list[Rejection], str]:
        """A page of refused rows and the cursor of the next, empty at the end."""
        if not 0 <= limit <= REJECTIONS_PAGE_MAX:
            raise _invalid("limit", f"is not between 1 and {REJECTIONS_PAGE_MAX}")
        if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):  # noqa: PLR2004 fits a bigint
            raise _invalid("cursor", "is not one we gave")
        await self.get(actor, import_id)
        limit = limit or REJECTIONS_PAGE
        page = await self._store.rejections(import_id, int(cursor or 0), limit + 1)
        return page[:limit], str(page[limit - 1].row) if len(page) > limit else ""

    async def report(self, actor: Actor, import_id: str, cursor: str) -> tuple[list[ReportedRow], str]:
        """What became of the next rows, in their order, and the cursor of what follows, empty at the end."""
        if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):  # noqa: PLR2004 fits a bigint
            raise _invalid("cursor", "is not one we gave")
        await self.get(actor, import_id)
        rows, last_row = await self._store.report(import_id, int(cursor or 0))
        return rows, str(last_row) if last_row else ""

    async def _received(self, content: AsyncIterator[bytes]) -> bytes:
        file = bytearray()
        async for piece in content:
            if len(piece) > self._limits.piece_bytes_max:
                raise PayloadTooLargeError(f"A message carries more than {self._limits.piece_bytes_max} bytes.")
            file += piece
            if len(file) > self._limits.file_bytes_max:
                raise PayloadTooLargeError(f"The file is larger than {self._limits.file_bytes_max} bytes.")
        return bytes(file)


def _checked(order: Order) -> Order:
    if len(order.filename) > FILENAME_CHARS_MAX or "\x00" in order.filename:
        raise _invalid("filename", f"is longer than {FILENAME_CHARS_MAX} characters or holds a NUL")
    if order.mapping_document:
        return Order(order.filename, order.mapping or "inline", order.mapping_document, order.reassign)
    return Order(order.filename, order.mapping or DEFAULT_MAPPING, "", order.reassign)


def _invalid(field: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field} {reason}.", errors=[FieldError(field, reason)])
