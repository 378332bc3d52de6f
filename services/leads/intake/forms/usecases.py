"""Forms are put in force, answered, and counted: nothing is deployed (69, 121)."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from breakwater.chassis.errors import ConflictError, NotFoundError
from breakwater.chassis.identity import Actor
from services.leads.documents.domain import KeptDocument
from services.leads.documents.usecases import AUTHORS
from services.leads.intake.domain import LeadDraft
from services.leads.intake.forms.domain import BoardRow, Form, read_form
from services.leads.intake.usecases import permit

FORMS_MAX = 200
"""So many forms an organisation may have."""


@dataclass(frozen=True, slots=True)
class KeptForm:
    """The newest version of a form."""

    name: str
    kept: KeptDocument

    @property
    def form(self) -> Form:
        return read_form(self.name, self.kept.document)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a board row counts, of the leads of one form in its days."""

    leads: int
    assigned_in_time: int
    converted: int


@dataclass(frozen=True, slots=True)
class BoardFigure:
    """A form with its board row, counted."""

    form: KeptForm
    row: BoardRow
    leads: int
    value: float
    """A count, or a share from 0 to 1."""


class FormStore(Protocol):
    """One transaction."""

    async def form(self, name: str) -> KeptForm | None:
        """The newest version."""
        ...

    async def forms(self) -> list[KeptForm]:
        """The newest version of each, by name."""
        ...

    async def lock(self) -> None:
        """Whoever puts a form next waits."""
        ...

    async def add(self, name: str, kept: KeptDocument) -> None: ...

    async def count(self, name: str, since: datetime) -> Counted: ...


BeginForms = Callable[[], AbstractAsyncContextManager[FormStore]]


async def put_form(
    begin: BeginForms, actor: Actor, name: str, document: Mapping[str, Any], expected_version: int, *, now: datetime
) -> KeptForm:
    """Puts a form in force at once: the next answer is taken by it.

    Raises InvalidRequestError with the place of every error, ConflictError when another version is in force (0: any).
    """
    permit(actor, AUTHORS)
    read_form(name, document)
    async with begin() as store:
        await store.lock()
        newest = await store.form(name)
        version = newest.kept.version if newest else 0
        if expected_version not in {0, version}:
            raise ConflictError(f"Version {version} is in force, not {expected_version}.")
        if newest is None and len(await store.forms()) >= FORMS_MAX:
            raise ConflictError(f"There are {FORMS_MAX} forms already.", code="too_many_forms")
        kept = KeptDocument(version + 1, document, actor.sub, now)
        await store.add(name, kept)
    return KeptForm(name, kept)


async def get_form(begin: BeginForms, actor: Actor, name: str) -> KeptForm:
    """The version in force."""
    permit(actor)
    async with begin() as store:
        found = await store.form(name)
    if found is None:
        raise NotFoundError("There is no such form.")
    return found


async def answered(
    begin: BeginForms, actor: Actor, name: str, values: Mapping[str, str], *, traceparent: str | None = None
) -> LeadDraft:
    """The lead that an answer to a form is; raises InvalidRequestError naming each value that is wrong."""
    found = await get_form(begin, actor, name)
    return replace(found.form.lead(values), by=actor.sub, traceparent=traceparent)


async def board(begin: BeginForms, actor: Actor, *, days_ago: Callable[[int], datetime]) -> list[BoardFigure]:
    """Every form with its board row, counted now."""
    permit(actor, AUTHORS)
    figures = []
    async with begin() as store:
        for kept in await store.forms():
            row = kept.form.board
            counted = await store.count(kept.name, days_ago(row.days))
            share = {"assigned_in_time": counted.assigned_in_time, "converted": counted.converted}.get(row.figure)
            value = float(counted.leads) if share is None else round(share / counted.leads, 4) if counted.leads else 0.0
            figures.append(BoardFigure(kept, row, counted.leads, value))
    return figures
