"""The last consistent snapshot of each dataset, for exports while leads is out as well (37).

Each replica reads every dataset once in a while, from one moment of leads' database, and keeps base columns, whose each row
is, and what rows are filtered by. Who asks later sees of it what they would have seen then, never more.
"""

import json
import logging
import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, Final, Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, UnavailableError
from breakwater.chassis.identity import Actor, Scope
from services.gateway.exports.domain import Column, ColumnKind, Export, Spec
from services.gateway.exports.engine import Head, Rows

CELL_END, ROW_END = b"\x1f", b"\x1e"
"""Between the cells of a row, and after each row (leads.proto, StreamDatasetResponse.packed_rows)."""
DATASETS: Final = ("leads", "customers", "assignments")
OWNER: Final = "owner_id"
KEPT: Final = (OWNER, "stage", "source")
"""Kept beside the base columns where a dataset has them: whose a row is, and the filters."""
CHUNK_ROWS: Final = 500
_READ_BYTES: Final = 256 * 1024
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Person:
    """Where somebody stands in the organisation."""

    id: str
    team_id: str
    supervisor_id: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a kept dataset without its rows. `columns` are the base columns, then those of `KEPT`."""

    as_of: datetime
    columns: tuple[Column, ...]
    base: int
    full: tuple[Column, ...]
    """The columns of the full file."""
    people: tuple[Person, ...]

    def owners_seen_by(self, actor: Actor) -> frozenset[str] | None:
        """Whose rows the actor may see, as leads has it (42); None: everybody's.

        Of teams that others say the actor leads, those whose members name the actor as their supervisor.
        """
        if actor.scope is Scope.ALL:
            return None
        if actor.scope is Scope.OWN:
            return frozenset({actor.sub})
        teams = {each.team_id for each in self.people if each.id == actor.sub}
        theirs = {each.id for each in self.people if each.team_id in teams or each.supervisor_id == actor.sub}
        return frozenset({actor.sub, *theirs})


class Whole(Protocol):
    """leads, asked for everything. Every method raises `BreakwaterError`."""

    async def shape(self, dataset: str) -> tuple[Sequence[Column], Sequence[Column]]:
        """The base columns and all columns of a dataset."""
        ...

    async def people(self) -> Sequence[Person]:
        """Everybody."""
        ...

    def rows(self, dataset: str, fields: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """The rows of one moment, packed, in chunks."""
        ...


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """`size_bytes_max` of each dataset; what is older than `age_s_max` is not served.

    What could not be read is tried again after `retry_s`.
    """

    every_s: float
    retry_s: float
    age_s_max: float
    size_bytes_max: int


class Snapshots:
    """Keeps them in `directory`, which is ours alone."""

    def __init__(self, whole: Whole, directory: Path, clock: Clock, limits: SnapshotLimits) -> None:
        self._whole = whole
        self._directory = directory
        self._clock = clock
        self._limits = limits

    async def run(self) -> None:
        """Until cancelled: each dataset anew every `every_s`."""
        while True:
            missed = [dataset for dataset in DATASETS if not await self._kept(dataset)]
            await self._clock.sleep(min(self._limits.retry_s, self._limits.every_s) if missed else self._limits.every_s)

    async def _kept(self, dataset: str) -> bool:
        try:
            await self.keep(dataset)
        except (BreakwaterError, OSError) as error:
            _log.warning("no new snapshot of %s: %s", dataset, error)
            return False
        return True

    async def keep(self, dataset: str) -> None:
        """Reads a dataset and puts it in the place of the one kept before. Raises `BreakwaterError`, `OSError`."""
        base, full = await self._whole.shape(dataset)
        people = await self._whole.people()
        kept = [column for column in full if column.name in KEPT and column.name not in {each.name for each in base}]
        as_of = self._clock.now()
        columns = (*base, *kept)
        head = _head(Snapshot(as_of, columns, len(base), tuple(full), tuple(people)))
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = self._directory / f"{dataset}.{os.getpid()}.partial"
        size_bytes = len(head)
        try:
            with os.fdopen(os.open(aside, _NEW, 0o600), "wb") as file:
                file.write(head)
                async with aclosing(self._whole.rows(dataset, [column.name for column in columns])) as chunks:
                    async for chunk in chunks:
                        size_bytes += len(chunk)
                        if size_bytes > self._limits.size_bytes_max:
                            _log.warning("%s is too large to be kept", dataset)
                            return
                        file.write(chunk)
            aside.replace(self._directory / dataset)
        finally:
            aside.unlink(missing_ok=True)

    def of(self, dataset: str) -> Snapshot | None:
        """What is kept of a dataset; None where it is nothing, or too old."""
        with suppress(FileNotFoundError), (self._directory / dataset).open("rb") as file:
            found = _snapshot(file)
            if self._clock.now() - found.as_of <= timedelta(seconds=self._limits.age_s_max):
                return found
        return None

    def rows(self, spec: Spec, actor: Actor) -> Iterator[list[list[str]]]:
        """Base columns of the rows the actor may see and asked for, in chunks. Raises `FileNotFoundError`."""
        with (self._directory / spec.rows_of).open("rb") as file:
            found = _snapshot(file)
            wanted = _filter(found, actor, spec)
            chunk: list[list[str]] = []
            for row in _rows(file):
                if wanted(row):
                    chunk.append(row[: found.base])
                if len(chunk) >= CHUNK_ROWS:
                    yield chunk
                    chunk = []
            yield chunk


class KeptRows:
    """Rows of leads, or of the last snapshot while leads is out. The port of the local engine."""

    def __init__(self, rows: Rows, snapshots: Snapshots) -> None:
        self._rows = rows
        self._snapshots = snapshots

    async def columns(self, export: Export) -> Sequence[Column]:
        """The columns of the full file. Raises `BreakwaterError`."""
        try:
            return await self._rows.columns(export)
        except UnavailableError:
            kept = self._snapshots.of(export.spec.rows_of)
            if kept is None:
                raise
            return kept.full

    async def base_rows(self, export: Export) -> AsyncGenerator[Any, None]:
        """A `Head`, then chunks of rows. Raises `BreakwaterError`, also where rows of leads break off."""
        head = None
        try:
            async with aclosing(self._rows.base_rows(export)) as rows:
                head = await anext(rows)
                yield head
                async for chunk in rows:
                    yield chunk
        except UnavailableError:
            kept = None if head else self._snapshots.of(export.spec.rows_of)
            if kept is None:
                raise
        else:
            return
        yield Head(kept.columns[: kept.base], kept.as_of)
        for chunk in self._snapshots.rows(export.spec, export.requester):
            yield chunk


def _filter(found: Snapshot, actor: Actor, spec: Spec) -> Callable[[list[str]], bool]:
    places = {column.name: place for place, column in enumerate(found.columns)}
    tests: list[tuple[int, Collection[str]]] = []
    owners = found.owners_seen_by(actor)
    if owners is not None:
        tests.append((places[OWNER], owners))
    tests += [(places[name], (value,)) for name, value in spec.filter.items() if value]
    return lambda row: all(row[place] in allowed for place, allowed in tests)


def _rows(file: IO[bytes]) -> Iterator[list[str]]:
    rest = b""
    while piece := file.read(_READ_BYTES):
        *whole, rest = (rest + piece).split(ROW_END)
        for row in whole:
            yield row.decode().split(CELL_END.decode())


def _head(snapshot: Snapshot) -> bytes:
    """A line of JSON before the rows."""
    told = {
        "as_of": snapshot.as_of.isoformat(),
        "base": snapshot.base,
        "columns": [[column.name, column.title, column.kind.value] for column in snapshot.columns],
        "full": [[column.name, column.title, column.kind.value] for column in snapshot.full],
        "people": [[person.id, person.team_id, person.supervisor_id] for person in snapshot.people],
    }
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"


def _snapshot(file: IO[bytes]) -> Snapshot:
    told = json.loads(file.readline())
    columns, full = (
        tuple(Column(name, title, ColumnKind(kind)) for name, title, kind in told[each]) for each in ("columns", "full")
    )
    people = tuple(Person(*each) for each in told["people"])
    return Snapshot(datetime.fromisoformat(told["as_of"]), columns, told["base"], full, people)
