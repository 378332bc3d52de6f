"""What becomes of the records of a file, by dataset.

A target works in two steps: `prepare` makes one record fit to be written or refuses it, asks nobody, and runs in the
thread that reads the file; `write` writes a chunk in the transaction its stores stand on.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Mapping as ReadMapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.intake.capture import CaptureBatch, CaptureStore, capture_leads
from services.leads.intake.customers import Identity, recognise
from services.leads.intake.domain import LeadDraft, Stage, draft_of
from services.leads.intake.imports.fields import DETAILS, Dataset
from services.leads.intake.imports.mapping import Mapping as FileMapping
from services.leads.intake.imports.mapping import fold
from services.leads.intake.imports.rows import Record
from services.leads.intake.imports.values import REMEMBERED_MAX
from services.leads.organisation.checks import check_person
from services.leads.organisation.departments import Department, Head, departments_of, settled
from services.leads.organisation.domain import Directory, Person
from services.leads.organisation.duty import Shift, shifts_of
from services.leads.pipeline import usecases as pipeline
from services.leads.pipeline.domain import Activity, Invoice, Opportunity, PipelineRecord, Recorded
from services.leads.pipeline.usecases import PipelineStore


class Stores(Protocol):
    """The stores of one open transaction."""

    @property
    def capture(self) -> CaptureStore: ...

    @property
    def pipeline(self) -> PipelineStore: ...

    async def lock_directory(self) -> Directory:
        """The organisation; whoever changes it next waits until the transaction ends."""
        ...

    async def upsert_people(self, people: Sequence[Person]) -> None:
        """Adds or changes people, with their events."""
        ...

    async def place_departments(self, departments: Sequence[Department]) -> None:
        """Adds or changes teams that are departments of a file."""
        ...

    async def name_heads(self, heads: Sequence[Head], import_id: str) -> None:
        """Makes heads of departments supervisors of their teams: the first of this import overrules earlier ones."""
        ...

    async def note_members(self, directory: str, person_ids: Sequence[str], import_id: str) -> None:
        """Keeps that these people are in this import of a directory in full."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some prepared records of one import."""

    import_id: str
    reassign: bool
    now: datetime
    items: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file is read with. `person_id` is the id of whom a file names by id, e-mail or name; empty for nobody."""

    mapping: FileMapping
    person_id: Callable[[str], str]


class Target(Protocol):
    """How the records of one dataset are imported."""

    def prepare(self, record: Record, reading: Reading, /) -> Any:
        """The record fit to be written; raises InvalidRequestError naming the fields that cannot be taken."""
        ...

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        """Writes prepared records; the caller commits."""
        ...


class LeadTarget:
    """Leads are captured as if each had been entered by hand (53, 70, 124)."""

    def prepare(self, record: Record, reading: Reading, /) -> LeadDraft:
        values = _with_owner_id(record, reading)
        if values.pop("converted", False):
            values["stage"] = Stage.CONVERTED
        elif "stage" in values:
            values["stage"] = Stage(values["stage"])
        utm = {name.removeprefix("utm_"): values.pop(name) for name in _UTM if name in values}
        if utm:
            values["utm"] = utm
        if details := {name: values.pop(name) for name in DETAILS if name in values}:
            values["details"] = details
        return draft_of(values | {"external_id": record.external_id, "phone_region": reading.mapping.phone_region})

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        captured = await capture_leads(
            stores.capture, chunk.items, now=chunk.now, import_id=chunk.import_id, reassign=chunk.reassign
        )
        merged = sum(each.merged for each in captured)
        outcomes = tuple(("merged" if each.merged else "created", each.lead_id) for each in captured)
        return Recorded(len(captured) - merged, merged, outcomes=outcomes)


_UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")


_PEOPLE_NAMES = {"team": "team_id", "supervisor": "supervisor_id"}
_YES = frozenset({"是", "yes", "y", "true", "1"})


@dataclass(frozen=True, slots=True)
class GivenPerson:
    """What a row says of a person; what it does not say is not in `fields`."""

    fields: ReadMapping[str, Any]
    departments: tuple[tuple[Department, ...], ...]
    """Each with those above it, from the top; the first is the person's team."""
    heads: tuple[Head, ...]
    directory: str


class PeopleTarget:
    """People are added or changed; what the file does not say of them stays as it is (4, 118).

    Departments become teams below each other, heads of departments their supervisors.
    """

    def prepare(self, record: Record, reading: Reading, /) -> GivenPerson:
        fields: dict[str, Any] = {_PEOPLE_NAMES.get(name, name): value for name, value in record.values.items()}
        departments = _departments(str(fields.pop("department", "")), reading.mapping)
        flags = fields.pop("heads", ())
        if departments:
            fields["team_id"] = departments[0][-1].id
        if "duty" in fields:
            fields["duty"] = _shifts(fields["duty"])
        check_person(Person(**fields))
        heads = tuple(
            Head(path[-1].id, fields["id"], fold(flag) in _YES) for path, flag in zip(departments, flags, strict=False)
        )
        return GivenPerson(fields, departments, heads, reading.mapping.directory)

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        given: Sequence[GivenPerson] = chunk.items
        known = (await stores.lock_directory()).people
        people: dict[str, Person] = {}
        for each in given:
            person_id = each.fields["id"]
            before = people.get(person_id) or known.get(person_id)
            people[person_id] = replace(before, **each.fields) if before else Person(**each.fields)
        # Somebody who comes now may be whom others of this file, or of an earlier one, named as their supervisor.
        everybody = {**known, **people}
        people |= {person.id: person for person in settled(everybody.values(), everybody)}
        departments = {department.id: department for each in given for path in each.departments for department in path}
        await stores.place_departments(list(departments.values()))
        await stores.upsert_people(list(people.values()))
        await stores.name_heads([head for each in given for head in each.heads], chunk.import_id)
        if given[0].directory:
            await stores.note_members(given[0].directory, [each.fields["id"] for each in given], chunk.import_id)
        created = len({each.fields["id"] for each in given} - known.keys())
        outcomes = tuple(("merged" if each.fields["id"] in known else "created", each.fields["id"]) for each in given)
        return Recorded(created, len(chunk.items) - created, outcomes=outcomes)


def _shifts(cell: str) -> tuple[Shift, ...]:
    try:
        return shifts_of(cell)
    except ValueError as error:
        errors = [FieldError("duty", str(error))]
        raise InvalidRequestError("A schedule cannot be taken.", errors=errors) from None


def _departments(cell: str, mapping: FileMapping) -> tuple[tuple[Department, ...], ...]:
    """The departments a cell names, each as a path of teams; raises InvalidRequestError for one that is too deep."""
    found = []
    for text in re.split(f"[{re.escape(mapping.department_lists)}]", cell):
        levels = re.split(f"[{re.escape(mapping.department_levels)}]", text)
        path = [level.strip() for level in levels if level.strip()]
        try:
            if path:
                found.append(tuple(departments_of(path)))
        except ValueError as error:
            errors = [FieldError("department", str(error))]
            raise InvalidRequestError("A department cannot be taken.", errors=errors) from None
    return tuple(found)


class ContactTarget:
    """A contact is a customer: the one found by its ids, phone or e-mail, or a new one; it keeps the contact's ids."""

    def prepare(self, record: Record, reading: Reading, /) -> Identity:
        draft = draft_of({**record.values, "source": "-", "phone_region": reading.mapping.phone_region})
        return Identity(draft.name, draft.company, draft.phone, draft.email, record.refs)

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        identities = [replace(identity, by=f"import:{chunk.import_id}") for identity in chunk.items]
        customers = await recognise(stores.capture, identities)
        distinct = {customer.id: customer for customer in customers}
        snapshot = await stores.capture.snapshot()
        await stores.capture.write(CaptureBatch(chunk.now, chunk.import_id, snapshot, list(distinct.values())))
        created = sum(customer.is_new for customer in distinct.values())
        outcomes = tuple(("created" if customer.is_new else "merged", customer.id) for customer in customers)
        return Recorded(created, len(customers) - created, outcomes=outcomes)


class PipelineTarget:
    """Activities, opportunities and invoices: kept, and linked to their customer if it is known."""

    def __init__(self, kind: Callable[..., PipelineRecord]) -> None:
        self._kind = kind

    def prepare(self, record: Record, reading: Reading, /) -> PipelineRecord:
        return self._kind(external_id=record.external_id, refs=record.refs, **_with_owner_id(record, reading))

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        return await pipeline.record(stores.pipeline, chunk.items, chunk.import_id)


TARGETS: ReadMapping[Dataset, Target] = {
    Dataset.LEADS: LeadTarget(),
    Dataset.PEOPLE: PeopleTarget(),
    Dataset.CONTACTS: ContactTarget(),
    Dataset.OPPORTUNITIES: PipelineTarget(Opportunity),
    Dataset.ACTIVITIES: PipelineTarget(Activity),
    Dataset.INVOICES: PipelineTarget(Invoice),
}

MAKES_REFS = frozenset({Dataset.LEADS, Dataset.CONTACTS})
"""Datasets after which records that wait for their customer may find it."""


def person_finder(directory: Directory) -> Callable[[str], str]:
    """`Reading.person_id` of an organisation; a name that two people share names neither."""
    people = directory.people.values()
    names = Counter(fold(person.name) for person in people)
    ids = {fold(person.name): person.id for person in people if names[fold(person.name)] == 1}
    ids |= {fold(person.email): person.id for person in people if person.email}
    ids |= {fold(person.id): person.id for person in people}
    return lru_cache(maxsize=REMEMBERED_MAX)(lambda word: ids.get(fold(word), ""))


def _with_owner_id(record: Record, reading: Reading) -> dict[str, Any]:
    values: dict[str, Any] = dict(record.values)
    if "owner" in values:
        values["owner_id"] = reading.person_id(values.pop("owner"))
    return values
