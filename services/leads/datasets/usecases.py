"""Giving the rows of a dataset, as far as the caller may see them."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import InvalidRequestError
from breakwater.chassis.identity import Actor
from services.leads.boards.personal.usecases import PersonalReader
from services.leads.boards.usecases import BoardOptions
from services.leads.datasets.boards import board_rows
from services.leads.datasets.domain import BOARDS, Column, columns_of
from services.leads.intake.usecases import LeadFilter, owners_of, permit

CELL_END, ROW_END = "\x1f", "\x1e"
"""Between the cells of a row, and after each row, of a chunk (leads.proto, StreamDatasetResponse.packed_rows)."""


@dataclass(frozen=True, slots=True)
class Query:
    """Rows to give. `owners` narrows to records of these people, None does not."""

    dataset: str
    columns: Sequence[Column]
    owners: Sequence[str] | None
    criteria: LeadFilter


class DatasetReader(PersonalReader, Protocol):
    """One moment of the database, however long it is read."""

    async def count(self, query: Query) -> int: ...

    def rows(self, query: Query) -> AsyncGenerator[str, None]:
        """Chunks of rows, packed; cells in the canonical text form of leads.proto, Row."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before the rows."""

    columns: Sequence[Column]
    rows_total: int


async def stream_dataset(
    begin: Callable[[], AbstractAsyncContextManager[DatasetReader]],
    actor: Actor,
    dataset: str,
    fields: Sequence[str],
    criteria: LeadFilter,
    *,
    base_fields_only: bool,
    options: BoardOptions,
    now: datetime,
) -> AsyncGenerator[Head | str, None]:
    """The head, then chunks of rows, packed, all from one snapshot.

    Raises InvalidRequestError naming what is wrong with `dataset`, `fields` or `filter`, PermissionDeniedError.
    """
    permit(actor)
    columns = columns_of(dataset, fields, base_fields_only=base_fields_only)
    if dataset == "customers" and (criteria.stage or criteria.source):
        raise InvalidRequestError("Customers have neither stage nor source; filter leads by them.")
    if dataset in BOARDS and (criteria.stage or criteria.source):
        raise InvalidRequestError("Boards are narrowed by owner_id alone.")
    async with begin() as reader:
        if dataset in BOARDS:
            rows = await board_rows(reader, actor, dataset, columns, criteria.owner_id, options, now)
            yield Head(columns, len(rows))
            if rows:
                yield "".join(CELL_END.join(row) + ROW_END for row in rows)
            return
        query = Query(dataset, columns, await owners_of(reader, actor), criteria)
        yield Head(columns, await reader.count(query))
        # Closed at once when the caller goes away: the snapshot holds a connection.
        async with aclosing(reader.rows(query)) as chunks:
            async for chunk in chunks:
                yield chunk


def unpacked(chunk: str) -> list[list[str]]:
    """The rows of a chunk, cell by cell."""
    return [row.split(CELL_END) for row in chunk.split(ROW_END)[:-1]]
