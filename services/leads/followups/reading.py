"""Reading follow-ups: of a lead, of a customer, how a lead stands, and how good the records of a period are."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor
from services.leads.followups.domain import LastFollowUp, LiveStatus, live_status, utc
from services.leads.followups.playbook import Playbook
from services.leads.followups.usecases import KeptFollowUp
from services.leads.intake.capture import Lead
from services.leads.intake.domain import is_id
from services.leads.intake.usecases import PAGE_DEFAULT, PAGE_MAX, SnapshotReader, owners_of, permit
from services.leads.organisation.domain import Directory

PERIOD_DAYS_MAX = 92
"""A quarter: what is counted is bounded."""
PERIOD_DAYS_DEFAULT = 7


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page goes on: after this follow-up."""

    at: datetime
    id: str

    @classmethod
    def of(cls, text: str) -> "Place":
        """Raises InvalidRequestError for one we did not give."""
        at, _, follow_up_id = text.partition(" ")
        try:
            moment = utc(at)
        except (ValueError, OverflowError):
            moment = None
        if moment is None or not is_id(follow_up_id):
            raise InvalidRequestError(
                "The cursor is not one we gave.", errors=[FieldError("cursor", "is not one we gave")]
            )
        return cls(moment, follow_up_id)

    def __str__(self) -> str:
        return f"{self.at.isoformat()} {self.id}"


@dataclass(slots=True)
class Counts:
    """What was counted of somebody's records."""

    records: int = 0
    planned: int = 0
    """With a next action and when it is due (44)."""
    due: int = 0
    done_in_time: int = 0
    vague: int = 0
    words: dict[str, int] = field(default_factory=dict)
    """How many records use each vague word (13)."""

    @property
    def share(self) -> float:
        return self.planned / self.records if self.records else 0.0

    def add(self, other: "Counts") -> None:
        self.records += other.records
        self.planned += other.planned
        self.due += other.due
        self.done_in_time += other.done_in_time
        self.vague += other.vague
        for word, records in other.words.items():
            self.words[word] = self.words.get(word, 0) + records


@dataclass(frozen=True, slots=True)
class Measured:
    """A person's or team's counts."""

    id: str
    name: str
    team_id: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the records of a period are; people and teams with the smallest share first."""

    all: Counts
    people: tuple[Measured, ...]
    teams: tuple[Measured, ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody may see of a customer."""

    customer_id: str
    """Who it is now: one that was merged is who it was merged into."""
    whole: bool
    """All of it, as its owner; otherwise what belongs to some of its leads."""


class FollowUpReader(SnapshotReader, Protocol):
    """Reading; `owners` narrows to records of these owners, None does not."""

    async def lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None: ...

    async def last(self, lead_id: str) -> LastFollowUp | None: ...

    async def sight(self, customer_id: str, owners: Sequence[str] | None) -> Sight | None:
        """None: nothing."""
        ...

    async def of_lead(self, lead_id: str, before: Place | None, limit: int) -> list[KeptFollowUp]: ...

    async def of_customer(
        self, customer_id: str, owners: Sequence[str] | None, before: Place | None, limit: int
    ) -> list[KeptFollowUp]:
        """Newest first; `owners` narrows to their leads."""
        ...

    async def playbook(self) -> Playbook: ...

    async def count(
        self, since: datetime, until: datetime, now: datetime, people: Sequence[str] | None, words: Sequence[str]
    ) -> Mapping[str, Counts]:
        """Counts by person."""
        ...


BeginFollowUps = Callable[[], AbstractAsyncContextManager[FollowUpReader]]


async def get_lead_now(begin: BeginFollowUps, actor: Actor, lead_id: str, *, now: datetime) -> tuple[Lead, LiveStatus]:
    """One lead and how it stands (104); another's is not found."""
    permit(actor)
    async with begin() as reader:
        lead = await reader.lead(lead_id, await owners_of(reader, actor))
        if lead is None:
            raise NotFoundError("There is no such lead.")
        last = await reader.last(lead_id)
    return lead, live_status(lead.draft.stage, lead.owner_id, lead.claim_by, lead.claimed_at, last, now)


async def list_follow_ups(
    begin: BeginFollowUps, actor: Actor, lead_id: str, customer_id: str, before: Place | None, limit: int
) -> tuple[list[KeptFollowUp], Place | None]:
    """A page of a lead's follow-ups, or of a customer's, newest first, and where to go on. `limit` 0 means 50.

    Raises InvalidRequestError past 200, or unless exactly one of both is named; NotFoundError for what the actor cannot see.
    """
    permit(actor)
    if not 0 <= limit <= PAGE_MAX:
        raise InvalidRequestError(f"limit is 1 to {PAGE_MAX}.", errors=[FieldError("limit", f"is 1 to {PAGE_MAX}")])
    if bool(lead_id) == bool(customer_id):
        raise InvalidRequestError("Either a lead or a customer is named.")
    limit = limit or PAGE_DEFAULT
    async with begin() as reader:
        owners = await owners_of(reader, actor)
        if lead_id:
            if await reader.lead(lead_id, owners) is None:
                raise NotFoundError("There is no such lead.")
            found = await reader.of_lead(lead_id, before, limit + 1)
        else:
            sight = await reader.sight(customer_id, owners)
            if sight is None:
                raise NotFoundError("There is no such customer.")
            narrowed = None if sight.whole else owners
            found = await reader.of_customer(sight.customer_id, narrowed, before, limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return found[:limit], Place(last.created_at, last.id) if last else None


async def get_quality(
    begin: BeginFollowUps, actor: Actor, since: datetime | None, until: datetime | None, *, now: datetime
) -> Quality:
    """How good the records of those are whom the actor may see (44); the last 7 days when nothing is named."""
    permit(actor)
    until = until or now
    since = since or until - timedelta(days=PERIOD_DAYS_DEFAULT)
    if not timedelta() < until - since <= timedelta(days=PERIOD_DAYS_MAX):
        raise InvalidRequestError(
            f"A period of more than nothing and at most {PERIOD_DAYS_MAX} days is needed.",
            errors=[FieldError("from", f"is not within the {PERIOD_DAYS_MAX} days before `to`")],
        )
    async with begin() as reader:
        directory = (await reader.snapshot()).directory
        words = (await reader.playbook()).vague_words
        counts = await reader.count(since, until, now, await owners_of(reader, actor), words)
    return _quality(counts, directory)


def _quality(counts: Mapping[str, Counts], directory: Directory) -> Quality:
    everybody = Counts()
    teams: dict[str, Counts] = {}
    people = []
    for person_id, counted in counts.items():
        person = directory.people.get(person_id)
        team_id = person.team_id if person else ""
        people.append(Measured(person_id, person.name if person else person_id, team_id, counted))
        everybody.add(counted)
        if team_id:
            teams.setdefault(team_id, Counts()).add(counted)
    measured = [
        Measured(team_id, directory.teams[team_id].name if team_id in directory.teams else team_id, team_id, counted)
        for team_id, counted in teams.items()
    ]
    return Quality(everybody, _worst_first(people), _worst_first(measured))


def _worst_first(entries: Sequence[Measured]) -> tuple[Measured, ...]:
    return tuple(sorted(entries, key=lambda each: (each.counts.share, each.id)))
