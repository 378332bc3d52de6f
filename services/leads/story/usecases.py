"""One call for a customer's whole story, for handover and complaints (15)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor
from breakwater.chassis.ids import uuid7
from services.leads.followups.reading import Sight
from services.leads.intake.usecases import SnapshotReader, owners_of, permit
from services.leads.story.domain import PAGE_DEFAULT, PAGE_MAX, Entry, Order, Place, sentence


@dataclass(frozen=True, slots=True)
class Told:
    """An entry with its sentence."""

    entry: Entry
    sentence: str
    actor_name: str


class StoryReader(SnapshotReader, Protocol):
    """Reading a story."""

    async def sight(self, customer_id: str, owners: Sequence[str] | None) -> Sight | None:
        """None: nothing."""
        ...

    async def page(self, customer_id: str, owners: Sequence[str] | None, place: Place, limit: int) -> list[Entry]:
        """What follows `place`, from one snapshot; `owners` narrows to what happened to their leads."""
        ...


BeginStory = Callable[[], AbstractAsyncContextManager[StoryReader]]


async def get_story(
    begin: BeginStory, actor: Actor, customer_id: str, order: str, place: Place | None, limit: int, *, now: datetime
) -> tuple[list[Told], Place | None]:
    """A page of the story and where it goes on. `limit` 0 means 200, `order` blank the oldest first.

    Whoever may see the customer as its owner's reads all of it, also what earlier owners did; who only has some of its
    leads reads what happened to them. Raises InvalidRequestError past 1,000, NotFoundError.
    """
    permit(actor)
    if not 0 <= limit <= PAGE_MAX:
        raise InvalidRequestError(f"limit is 1 to {PAGE_MAX}.", errors=[FieldError("limit", f"is 1 to {PAGE_MAX}")])
    if order and order not in set(Order):
        raise InvalidRequestError("No such order.", errors=[FieldError("order", f"is none of {', '.join(Order)}")])
    limit = limit or PAGE_DEFAULT
    # An id of this moment: whatever is recorded from now on has a greater one.
    place = place or Place.start(Order(order or Order.OLDEST), now, uuid7())
    async with begin() as reader:
        owners = await owners_of(reader, actor)
        sight = await reader.sight(customer_id, owners)
        if sight is None:
            raise NotFoundError("There is no such customer.")
        entries = await reader.page(sight.customer_id, None if sight.whole else owners, place, limit + 1)
        people = (await reader.snapshot()).directory.people

    def name_of(person_id: str) -> str:
        person = people.get(person_id)
        return person.name if person else person_id

    told = [Told(each, sentence(each, name_of), name_of(each.actor_id)) for each in entries[:limit]]
    return told, place.after(entries[limit - 1]) if len(entries) > limit else None
