"""Showing somebody's board to them, or to who is responsible for them."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from breakwater.chassis.errors import NotFoundError, PayloadTooLargeError
from breakwater.chassis.identity import Actor
from services.leads.boards.domain import Days, Tallies
from services.leads.boards.personal.domain import OpenLead, PersonalBoard, Pile
from services.leads.boards.usecases import BoardOptions, BoardReader, Selection, desks_of
from services.leads.intake.usecases import permit

DAYS = 30
"""Of the timeliness on the board."""


class PersonalReader(BoardReader, Protocol):
    """One moment of the database."""

    def open_leads(self, person_id: str) -> AsyncGenerator[Sequence[OpenLead], None]:
        """The person's open leads, in chunks."""
        ...


BeginPersonal = Callable[[], AbstractAsyncContextManager[PersonalReader]]


async def get_personal_board(
    begin: BeginPersonal, actor: Actor, person_id: str, *, now: datetime, options: BoardOptions
) -> PersonalBoard:
    """The board of `person_id`, of the actor when it is empty.

    Raises NotFoundError for somebody who is not there or whose records the actor may not see, PayloadTooLargeError past
    `leads_max`.
    """
    permit(actor)
    async with begin() as reader:
        return await personal_board(reader, actor, person_id, now=now, options=options)


async def personal_board(
    reader: PersonalReader, actor: Actor, person_id: str, *, now: datetime, options: BoardOptions
) -> PersonalBoard:
    """As `get_personal_board`, by a reader that is open."""
    directory = (await reader.snapshot()).directory
    wanted = person_id or actor.sub
    visible = directory.visible_owners(actor)
    # Who asks has a board, also an empty one of somebody leads are not routed to.
    if wanted != actor.sub and (wanted not in directory.people or (visible is not None and wanted not in visible)):
        raise NotFoundError("There is no such person.")
    return await personal(reader, wanted, now=now, options=options)


async def personal(reader: PersonalReader, person_id: str, *, now: datetime, options: BoardOptions) -> PersonalBoard:
    """The board of anybody, by a reader that is open."""
    snapshot = await reader.snapshot()
    directory = snapshot.directory
    zone = ZoneInfo(directory.teams[directory.team_of(person_id)].time_zone)
    today = now.astimezone(zone).date()
    days = Days(today - timedelta(days=DAYS - 1), today, zone)
    pile = Pile(now, days.end)
    async with aclosing(reader.open_leads(person_id)) as chunks:
        async for chunk in chunks:
            if pile.leads + len(chunk) > options.leads_max:
                raise PayloadTooLargeError(f"A board adds up at most {options.leads_max} leads.")
            for lead in chunk:
                pile.add(lead)
    tallies = Tallies(directory, snapshot.first_touch, now, options.measures)
    selection = Selection(days.begin, days.end, [person_id], desks_of(snapshot))
    async with aclosing(reader.times(selection, options.leads_max)) as chunks_of_times:
        async for chunk_of_times in chunks_of_times:
            for times in chunk_of_times:
                tallies.add(times)
    person = directory.people.get(person_id)
    name = person.name if person else person_id
    return PersonalBoard(
        *(person_id, name, days, now, pile.leads, pile.overdue, pile.cells(), pile.first_actions()),
        timeliness=tallies.total(person_id, name),
        measures=replace(options.measures, on_time_weight=directory.demands.on_time_weight),
    )
