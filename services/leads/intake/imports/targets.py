"""What becomes of the records of a file, by dataset.

A target works in two steps: `prepare` makes one record fit to be written or refuses it, asks nobody, and may run in
any thread; `write` writes a chunk in the transaction its stores stand on.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from services.leads.intake.capture import CaptureBatch, CaptureStore, capture_leads
from services.leads.intake.customers import Identity, recognise
from services.leads.intake.domain import LeadDraft, Stage, normalise
from services.leads.intake.imports.fields import Dataset
from services.leads.intake.imports.mapping import Mapping as FileMapping
from services.leads.intake.imports.mapping import fold
from services.leads.intake.imports.rows import Record
from services.leads.organisation.domain import Directory, Person, check_person
from services.leads.pipeline import usecases as pipeline
from services.leads.pipeline.domain import Activity, Invoice, Opportunity, PipelineRecord, Recorded
from services.leads.pipeline.usecases import PipelineStore


class Stores(Protocol):
    """The stores of one open transaction."""

    @property
    def capture(self) -> CaptureStore: ...

    @property
    def pipeline(self) -> PipelineStore: ...

    async def upsert_people(self, people: Sequence[Person]) -> None:
        """Adds or changes people, with their events."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some prepared records of one import."""

    import_id: str
    mapping: FileMapping
    reassign: bool
    now: datetime
    items: Sequence[Any]


class Target(Protocol):
    """How the records of one dataset are imported."""

    def prepare(self, record: Record, mapping: FileMapping, /) -> Any:
        """The record fit to be written; raises InvalidRequestError naming the fields that cannot be taken."""
        ...

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        """Writes prepared records; the caller commits."""
        ...


class LeadTarget:
    """Leads are captured as if each had been entered by hand (53, 70, 124)."""

    def prepare(self, record: Record, mapping: FileMapping, /) -> LeadDraft:
        values: dict[str, Any] = dict(record.values)
        if values.pop("converted", False):
            values["stage"] = Stage.CONVERTED
        elif "stage" in values:
            values["stage"] = Stage(values["stage"])
        utm = {name.removeprefix("utm_"): values.pop(name) for name in _UTM if name in values}
        return normalise(
            LeadDraft(
                **_renamed(values, "owner", "owner_id"),
                utm=utm,
                external_id=record.external_id,
                phone_region=mapping.phone_region,
            )
        )

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        drafts: Sequence[LeadDraft] = chunk.items
        finder = await _finder(stores)
        captured = await capture_leads(
            stores.capture,
            [replace(draft, owner_id=finder(draft.owner_id)) if draft.owner_id else draft for draft in drafts],
            now=chunk.now,
            import_id=chunk.import_id,
            reassign=chunk.reassign,
        )
        merged = sum(each.merged for each in captured)
        return Recorded(len(captured) - merged, merged)


_UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")


class PeopleTarget:
    """People are added or changed; what the file does not say of them stays as it is (4, 118)."""

    def prepare(self, record: Record, _mapping: FileMapping, /) -> dict[str, Any]:
        given = _renamed(_renamed(dict(record.values), "team", "team_id"), "supervisor", "supervisor_id")
        check_person(Person(**given))
        return given

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        directory = (await stores.capture.snapshot()).directory
        people: dict[str, Person] = {}
        for given in chunk.items:
            known = people.get(given["id"]) or directory.people.get(given["id"])
            people[given["id"]] = replace(known, **given) if known else Person(**given)
        await stores.upsert_people(list(people.values()))
        created = sum(person_id not in directory.people for person_id in people)
        return Recorded(created, len(chunk.items) - created)


class ContactTarget:
    """A contact is a customer: the one found by its ids, phone or e-mail, or a new one; it keeps the contact's ids."""

    def prepare(self, record: Record, mapping: FileMapping, /) -> Identity:
        draft = normalise(LeadDraft(**record.values, source="-", phone_region=mapping.phone_region))  # type: ignore[arg-type]
        return Identity(draft.name, draft.company, draft.phone, draft.email, record.refs)

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        customers = await recognise(stores.capture, chunk.items)
        distinct = {customer.id: customer for customer in customers}
        snapshot = await stores.capture.snapshot()
        await stores.capture.write(CaptureBatch(chunk.now, chunk.import_id, snapshot, list(distinct.values())))
        created = sum(customer.is_new for customer in distinct.values())
        return Recorded(created, len(customers) - created)


class PipelineTarget:
    """Activities, opportunities and invoices: kept, and linked to their customer if it is known."""

    def __init__(self, kind: Callable[..., PipelineRecord]) -> None:
        self._kind = kind

    def prepare(self, record: Record, _mapping: FileMapping, /) -> PipelineRecord:
        values = _renamed(dict(record.values), "owner", "owner_id")
        return self._kind(external_id=record.external_id, refs=record.refs, **values)

    async def write(self, stores: Stores, chunk: Chunk) -> Recorded:
        finder = await _finder(stores)
        records = [replace(item, owner_id=finder(item.owner_id)) if item.owner_id else item for item in chunk.items]
        return await pipeline.record(stores.pipeline, records, chunk.import_id)


TARGETS: Mapping[Dataset, Target] = {
    Dataset.LEADS: LeadTarget(),
    Dataset.PEOPLE: PeopleTarget(),
    Dataset.CONTACTS: ContactTarget(),
    Dataset.OPPORTUNITIES: PipelineTarget(Opportunity),
    Dataset.ACTIVITIES: PipelineTarget(Activity),
    Dataset.INVOICES: PipelineTarget(Invoice),
}

MAKES_REFS = frozenset({Dataset.LEADS, Dataset.CONTACTS})
"""Datasets after which records that wait for their customer may find it."""


def _renamed(values: dict[str, Any], name: str, new_name: str) -> dict[str, Any]:
    if name in values:
        values[new_name] = values.pop(name)
    return values


async def _finder(stores: Stores) -> Callable[[str], str]:
    """From what a file calls a person to the person's id; somebody unknown is nobody."""
    people = _people_by_word((await stores.capture.snapshot()).directory)
    return lambda word: people.get(fold(word), "")


def _people_by_word(directory: Directory) -> Mapping[str, str]:
    """People's ids by id, e-mail and name; a name that two people share names neither."""
    names = Counter(fold(person.name) for person in directory.people.values())
    words = {fold(person.name): person.id for person in directory.people.values() if names[fold(person.name)] == 1}
    words |= {fold(person.email): person.id for person in directory.people.values() if person.email}
    return words | {fold(person.id): person.id for person in directory.people.values()}
