"""Growth stages as an organisation decides them, what they unlock, and how complete a lead is (75, 76, 78). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from breakwater.chassis.errors import FieldError
from services.leads.documents.domain import DocumentReader
from services.leads.intake.domain import LeadDraft

GROWTH = "growth"
"""The kind of document it is."""
STAGES_MAX = 10
FIELDS_MAX = 60
TITLE_CHARS_MAX = 60
COLUMNS = frozenset(
    ("name", "company", "phone", "email", "website", "city_code", "region", "industry", "budget", "urgency", "need")
)
"""Fields that are columns of a lead; any other name of the document is a detail."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class GrowthStage:
    """One stage and the fields that it unlocks."""

    name: str
    title: str
    fields: tuple[str, ...]
    complete_with: tuple[tuple[str, ...], ...]
    """Of each group one field must be known for the next stage to open."""

    def missing(self, known: Mapping[str, str]) -> list[str]:
        """The groups of which nothing is known, as the document writes them."""
        return ["|".join(group) for group in self.complete_with if not any(known.get(name) for name in group)]


@dataclass(frozen=True, slots=True)
class Growth:
    """The stages in order, and what may be told at any time."""

    stages: tuple[GrowthStage, ...]
    any_time: tuple[str, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field there is."""
        return (*(name for stage in self.stages for name in stage.fields), *self.any_time)

    def open_stages(self, known: Mapping[str, str]) -> int:
        """How many stages are open: one more than are complete, without a gap."""
        for number, stage in enumerate(self.stages, 1):
            if stage.missing(known):
                return number
        return len(self.stages)

    def against(self, known: Mapping[str, str], given: Mapping[str, str]) -> list[FieldError]:
        """Why what is given cannot be taken: each field of a later stage is named with its stage, and what opens it.

        What is given of an earlier stage counts for the later ones: one call may go through several.
        """
        told = dict(known)
        places = {name: number for number, stage in enumerate(self.stages) for name in stage.fields}
        errors = [
            FieldError(f"fields.{name[:60]}", "is not a field of a lead")
            for name in given
            if name not in places and name not in self.any_time
        ]
        for number, stage in enumerate(self.stages):
            here = {name: value for name, value in given.items() if places.get(name) == number}
            if here and number >= self.open_stages(told):
                first = self.stages[self.open_stages(told) - 1]
                needs = ", ".join(first.missing(told))
                errors += [
                    FieldError(
                        f"fields.{name}",
                        f"belongs to growth stage {stage.name} ({stage.title}), which opens when {needs} is known",
                    )
                    for name in here
                ]
            else:
                told |= here
        return errors

    def completeness(self, known: Mapping[str, str]) -> int:
        """Percent of all fields that are known (78)."""
        return round(100 * sum(bool(known.get(name)) for name in self.fields) / max(1, len(self.fields)))


def known_of(draft: LeadDraft) -> dict[str, str]:
    """What is known of a lead, as text, by field."""
    known = {name: _text(getattr(draft, name)) for name in COLUMNS}
    return {name: value for name, value in {**draft.details, **known}.items() if value}


def _text(value: str | Decimal | None) -> str:
    if value is None:
        return ""
    return format(value, "f") if isinstance(value, Decimal) else value


def read_growth(document: Mapping[str, Any], _version: int = 0) -> Growth:
    """The stages a document means; raises InvalidRequestError with the place of every error."""
    reader = DocumentReader()
    reader.only(document, {"stages", "any_time"})
    seen: dict[str, str] = {}
    stages = []
    for place, entry in reader.entries(document, "stages", "", STAGES_MAX, least=1):
        reader.only(entry, {"name", "title", "fields", "complete_with"}, place)
        name = reader.text(entry, "name", place, 40)
        if not _NAME.fullmatch(name):
            reader.wrong(f"{place}.name", "has lower-case letters, digits and underscores, a letter first")
        fields = reader.texts(entry, "fields", place, FIELDS_MAX, 40, least=1)
        _check_fields(reader, fields, f"{place}.fields", seen)
        groups = []
        for index, group in enumerate(reader.texts(entry, "complete_with", place, FIELDS_MAX, 200)):
            names = tuple(group.split("|"))
            if not set(names) <= set(fields):
                reader.wrong(f"{place}.complete_with[{index}]", "names a field that is not of this stage")
            groups.append(names)
        stages.append(GrowthStage(name, reader.text(entry, "title", place, TITLE_CHARS_MAX), fields, tuple(groups)))
    any_time = reader.texts(document, "any_time", "", FIELDS_MAX, 40)
    _check_fields(reader, any_time, "any_time", seen)
    reader.raise_errors("The growth stages cannot be put in force.", "invalid_growth")
    return Growth(tuple(stages), any_time)


def _check_fields(reader: DocumentReader, names: tuple[str, ...], place: str, seen: dict[str, str]) -> None:
    for index, name in enumerate(names):
        here = f"{place}[{index}]"
        if not _NAME.fullmatch(name):
            reader.wrong(here, "has lower-case letters, digits and underscores, a letter first")
        elif name in seen:
            reader.wrong(here, f"stands in {seen[name]} too")
        seen[name] = here
