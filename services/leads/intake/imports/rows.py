"""Rows into records: a plan made once from a mapping and a file's headers, applied to every row. Pure."""

from collections.abc import Mapping as ReadMapping
from collections.abc import Sequence
from dataclasses import dataclass, field

from breakwater.chassis.errors import FieldError
from services.leads.intake.imports.domain import Rejection, reject
from services.leads.intake.imports.fields import Field
from services.leads.intake.imports.mapping import Column, Mapping, Template, fold
from services.leads.intake.imports.values import Converter, Value, clean_cells, converter_of


@dataclass(frozen=True, slots=True)
class Record:
    """One row, read. `row` counts as people see it: the header is row 1."""

    row: int
    cells: Sequence[str]
    values: ReadMapping[str, Value]
    """Fields that are not blank."""
    external_id: str = ""
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a field's value comes from: one cell, or a template."""

    header: str
    cell: int
    template: "_FilledTemplate | None"
    convert: Converter


@dataclass(frozen=True, slots=True)
class _FilledTemplate:
    """A template whose headers are known as cells."""

    pieces: tuple[str, ...]
    cells: tuple[int, ...]

    def text(self, cells: Sequence[str]) -> str:
        """The template with the cells in it; empty when it has cells and all are blank."""
        filled = [cells[index] for index in self.cells]
        if filled and not any(filled):
            return ""
        text = self.pieces[0] + "".join(cell + piece for cell, piece in zip(filled, self.pieces[1:], strict=True))
        return " ".join(text.split())

    def reference(self, cells: Sequence[str]) -> str:
        """The id the template names; one with a blank part names nothing."""
        text = self.pieces[0]
        for index, piece in zip(self.cells, self.pieces[1:], strict=True):
            if not cells[index]:
                return ""
            text += cells[index] + piece
        return text


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows of one file are read."""

    mapping: Mapping
    width: int
    sources: tuple[tuple[str, tuple[_Source, ...]], ...]
    mandatory: frozenset[str]
    external_id: _FilledTemplate | None
    refs: tuple[_FilledTemplate, ...] = field(default_factory=tuple)

    def record(self, row: int, raw_cells: Sequence[str]) -> Record | Rejection:
        """The row as a record, or why it cannot be one, naming every field at fault."""
        if len(raw_cells) != self.width:
            return reject(
                row, raw_cells, [FieldError("", f"the row has {len(raw_cells)} cells, the header {self.width}")]
            )
        cells = clean_cells(raw_cells, self.mapping.blanks)
        values: dict[str, Value] = {}
        errors: list[FieldError] = []
        for name, sources in self.sources:
            for source in sources:
                cell = source.template.text(cells) if source.template else cells[source.cell]
                if not cell:
                    continue
                try:
                    values[name] = source.convert(cell)
                except ValueError as error:
                    place = f"column {source.header!r}: " if source.header else ""
                    errors.append(FieldError(name, f"{place}{error}"))
                break
            else:
                if name in self.mandatory:
                    errors.append(FieldError(name, "is mandatory and blank"))
        if errors:
            return reject(row, raw_cells, errors)
        return Record(
            row=row,
            cells=raw_cells,
            values=values,
            external_id=self.external_id.reference(cells) if self.external_id else "",
            refs=tuple(ref for template in self.refs if (ref := template.reference(cells))),
        )


def plan_rows(mapping: Mapping, headers: Sequence[str]) -> tuple[Plan | None, list[FieldError]]:
    """The plan for a file with these headers, or everything that keeps the mapping from fitting it."""
    places: dict[str, list[int]] = {}
    for index, header in enumerate(headers):
        places.setdefault(fold(header), []).append(index)
    errors: list[FieldError] = []
    wanted = {column.header for column in mapping.columns} | {
        header
        for template in (*mapping.values.values(), *mapping.refs, *filter(None, (mapping.external_id,)))
        for header in template.headers
    }
    for header in sorted(wanted):
        found = places.get(fold(header), [])
        if len(found) > 1:
            errors.append(FieldError("file", f"the header {header!r} is there {len(found)} times"))
        elif not found and not mapping.may_lack(header):
            errors.append(FieldError("file", f"the header {header!r} is missing"))
    sources = {name: _sources(mapping, name, known, places) for name, known in mapping.fields.items()}
    for name, known in mapping.fields.items():
        if known.mandatory and not sources[name] and not errors:
            headers_known = ", ".join(column.header for column in mapping.columns if column.field == name)
            errors.append(FieldError("file", f"no column for {known.title} ({name}): one of {headers_known}"))
    if errors:
        return None, errors
    plan = Plan(
        mapping=mapping,
        width=len(headers),
        sources=tuple((name, found) for name, found in sources.items() if found),
        mandatory=frozenset(name for name, known in mapping.fields.items() if known.mandatory),
        external_id=_filled(mapping.external_id, places) if mapping.external_id else None,
        refs=tuple(filled for template in mapping.refs if (filled := _filled(template, places))),
    )
    return plan, []


def _sources(mapping: Mapping, name: str, known: Field, places: ReadMapping[str, list[int]]) -> tuple[_Source, ...]:
    def of_column(column: Column) -> _Source:
        return _Source(column.header, places[fold(column.header)][0], None, converter_of(mapping, known, column))

    found = [of_column(column) for column in mapping.columns if column.field == name and fold(column.header) in places]
    template = mapping.values.get(name)
    filled = _filled(template, places) if template else None
    if filled is not None:
        found.append(_Source("", -1, filled, converter_of(mapping, known, None)))
    return tuple(found)


def _filled(template: Template, places: ReadMapping[str, list[int]]) -> _FilledTemplate | None:
    if any(fold(header) not in places for header in template.headers):
        return None
    pieces: list[str] = []
    rest = template.text
    for header in template.headers:
        before, _, rest = rest.partition(f"{{{header}}}")
        pieces.append(before)
    return _FilledTemplate((*pieces, rest), tuple(places[fold(header)][0] for header in template.headers))
