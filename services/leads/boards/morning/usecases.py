"""Telling boards that are due: one team a transaction, each board to each reader once a day."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Protocol
from zoneinfo import ZoneInfo

from breakwater.chassis.errors import PayloadTooLargeError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.boards.morning.domain import (
    Told,
    days_told,
    is_morning,
    next_morning,
    personal_told,
    timeliness_told,
)
from services.leads.boards.personal.usecases import PersonalReader, personal
from services.leads.boards.usecases import BoardOptions, BoardQuery, desks_of, timeliness
from services.leads.organisation.domain import Team
from services.leads.routing.snapshot import Snapshot

_EVERYBODY = Actor("leads", Role.SERVICE, Scope.ALL)


@dataclass(frozen=True, slots=True)
class Morning:
    """A team whose boards are due; no other worker has it until the transaction ends."""

    team_id: str
    due_at: datetime


class MorningStore(PersonalReader, Protocol):
    """What telling boards needs of one open transaction."""

    async def add_teams(self, due: Mapping[str, datetime]) -> None:
        """Sets when teams are due that have no row yet; the others keep theirs."""
        ...

    async def take_due(self, now: datetime, limit: int) -> list[Morning]: ...

    async def tell(self, told: Sequence[Told], now: datetime) -> None:
        """Publishes each board that its reader was not told of that day."""
        ...

    async def move(self, team_id: str, due_at: datetime) -> None: ...


async def tell_boards(
    begin: Callable[[], AbstractAsyncContextManager[MorningStore]],
    at: time,
    options: BoardOptions,
    *,
    now: datetime,
    limit: int,
) -> list[datetime]:
    """Tells the boards of at most `limit` teams that are due; returns when each was."""
    async with begin() as store:
        snapshot = await store.snapshot()
        teams, calendars = snapshot.directory.teams, snapshot.first_touch.calendars
        await store.add_teams(
            {
                team.id: next_morning(calendars.get(team.id), ZoneInfo(team.time_zone), at, now)
                for team in teams.values()
            }
        )
        mornings = await store.take_due(now, limit)
        for morning in mornings:
            team = teams[morning.team_id]
            calendar, zone = calendars.get(team.id), ZoneInfo(team.time_zone)
            if is_morning(calendar, zone, at, now):
                today = now.astimezone(zone).date()
                await store.tell(await _told(store, snapshot, team, today, options, now), now)
            await store.move(team.id, next_morning(calendar, zone, at, now))
    return [morning.due_at for morning in mornings]


async def _told(
    store: MorningStore, snapshot: Snapshot, team: Team, today: date, options: BoardOptions, now: datetime
) -> list[Told]:
    directory, told = snapshot.directory, []
    supervisor = directory.people.get(team.supervisor_id)
    if supervisor is not None and supervisor.active:
        first, last = days_told(snapshot.first_touch.calendars.get(team.id), today)
        query = BoardQuery(first.isoformat(), last.isoformat(), team.id, below=True)
        try:
            board = await timeliness(store, _EVERYBODY, query, now=now, options=options)
        except PayloadTooLargeError:
            # Asked for on the page, the board says why there is none; a morning without it must not keep others waiting.
            pass
        else:
            told.append(timeliness_told(board, team.id, team.name, today, supervisor.id))
    desks = set(desks_of(snapshot))
    for person in directory.members.get(team.id, ()):
        if person.active and person.id not in desks:
            try:
                mine = await personal(store, person.id, now=now, options=options)
            except PayloadTooLargeError:
                continue
            if mine.open_leads:
                told.append(personal_told(mine, today))
    return told
