"""What a form asks, whom it alarms and what its board row counts, as a document says it (69, 121). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.documents.domain import DocumentReader
from services.leads.intake.domain import FormAlert, LeadDraft, money
from services.leads.intake.growth.domain import COLUMNS

FIELDS_MAX = 5
CHOICES_MAX = 50
TEXT_CHARS_MAX = 200
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
FIGURES = ("leads", "assigned_in_time", "converted")
"""What a board row may show: how many came, and the share of them that had an owner in 15 minutes, or was converted."""
DAYS_MAX = 366
RECIPIENTS = ("owner", "supervisor")

_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class FormField:
    """One question."""

    name: str
    title: str
    mandatory: bool
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alert:
    """Who is told of which leads."""

    to: str
    """owner, supervisor, or a person's id."""
    title: str
    field: str = ""
    """Only of leads that have this value here; empty: of all."""
    value: str = ""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """What the board shows of the form."""

    title: str
    figure: str
    days: int


@dataclass(frozen=True, slots=True)
class Form:
    """A form in force."""

    name: str
    title: str
    source: str
    fields: tuple[FormField, ...]
    alert: Alert
    board: BoardRow

    def lead(self, values: Mapping[str, str]) -> LeadDraft:
        """The lead that an answer is, not normalised yet; raises InvalidRequestError naming each value that is wrong."""
        errors = [
            FieldError(f"values.{name[:60]}", "is not a field of this form")
            for name in values
            if name not in self._names
        ]
        for field in self.fields:
            value = values.get(field.name, "").strip()
            if field.mandatory and not value:
                errors.append(FieldError(f"values.{field.name}", "is mandatory"))
            if value and field.choices and value not in field.choices:
                errors.append(FieldError(f"values.{field.name}", f"is not one of {', '.join(field.choices)}"))
        budget = None
        try:
            budget = money(values.get("budget", ""))
        except ValueError as error:
            errors.append(FieldError("values.budget", str(error)))
        if errors:
            raise InvalidRequestError("The form was not filled in as it asks.", errors=errors)
        columns: dict[str, Any] = {name: value for name, value in values.items() if name in COLUMNS - {"budget"}}
        return LeadDraft(
            **{"name": "", **columns},
            source=self.source,
            budget=budget,
            details={name: value for name, value in values.items() if name not in COLUMNS and value},
            form=self.name,
            alert=self._alert(values),
        )

    def _alert(self, values: Mapping[str, str]) -> FormAlert | None:
        if self.alert.field and values.get(self.alert.field, "").strip() != self.alert.value:
            return None
        told = "，".join(f"{field.title}：{values[field.name]}" for field in self.fields if values.get(field.name))
        return FormAlert(self.alert.to, self.alert.title, told)

    @property
    def _names(self) -> set[str]:
        return {field.name for field in self.fields}


def read_form(name: str, document: Mapping[str, Any]) -> Form:
    """The form a document means; raises InvalidRequestError with the place of every error."""
    reader = DocumentReader()
    if not NAME.fullmatch(name):
        reader.wrong("name", "has lower-case letters, digits and hyphens, a letter first, 40 at most")
    reader.only(document, {"title", "source", "fields", "alert", "board"})
    fields = [
        _field(reader, place, entry) for place, entry in reader.entries(document, "fields", "", FIELDS_MAX, least=1)
    ]
    names = [field.name for field in fields]
    for index, field in enumerate(fields):
        if field.name in names[:index]:
            reader.wrong(f"fields[{index}].name", "is there twice")
    if not any(field.name == "name" and field.mandatory for field in fields):
        reader.wrong("fields", "must ask for name, and make it mandatory")
    form = Form(
        name,
        reader.text(document, "title", "", TEXT_CHARS_MAX),
        reader.text(document, "source", "", 60),
        tuple(fields),
        _alert(reader, document, fields),
        _board(reader, document),
    )
    reader.raise_errors("The form cannot be put in force.", "invalid_form")
    return form


def _field(reader: DocumentReader, place: str, entry: Mapping[str, Any]) -> FormField:
    reader.only(entry, {"name", "title", "mandatory", "choices"}, place)
    name = reader.text(entry, "name", place, 40)
    if name and (not _FIELD_NAME.fullmatch(name) or name == "source"):
        reader.wrong(
            f"{place}.name", "has lower-case letters, digits and underscores, a letter first; source is the form's"
        )
    mandatory = entry.get("mandatory", False)
    if not isinstance(mandatory, bool):
        reader.wrong(f"{place}.mandatory", "must be true or false")
    return FormField(
        name,
        reader.text(entry, "title", place, TEXT_CHARS_MAX),
        mandatory is True,
        reader.texts(entry, "choices", place, CHOICES_MAX, TEXT_CHARS_MAX),
    )


def _object(reader: DocumentReader, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    entry = document.get(key)
    if not isinstance(entry, Mapping):
        reader.wrong(key, "must be an object")
        return {}
    return entry


def _alert(reader: DocumentReader, document: Mapping[str, Any], fields: list[FormField]) -> Alert:
    entry = _object(reader, document, "alert")
    reader.only(entry, {"to", "title", "field", "value"}, "alert")
    field = reader.text(entry, "field", "alert", 40, blank=True)
    if field and field not in {each.name for each in fields}:
        reader.wrong("alert.field", "is not a field of this form")
    return Alert(
        reader.text(entry, "to", "alert", 60),
        reader.text(entry, "title", "alert", TEXT_CHARS_MAX),
        field,
        reader.text(entry, "value", "alert", TEXT_CHARS_MAX, blank=not field),
    )


def _board(reader: DocumentReader, document: Mapping[str, Any]) -> BoardRow:
    entry = _object(reader, document, "board")
    reader.only(entry, {"title", "figure", "days"}, "board")
    figure = reader.text(entry, "figure", "board", 40)
    if figure not in FIGURES:
        reader.wrong("board.figure", f"is not one of {', '.join(FIGURES)}")
    return BoardRow(
        reader.text(entry, "title", "board", TEXT_CHARS_MAX), figure, reader.number(entry, "days", "board", 1, DAYS_MAX)
    )
