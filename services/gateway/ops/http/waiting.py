"""What waits: backlogs of the processes, and dead letters with their replay."""

from typing import Annotated, Protocol

from fastapi import Query
from pydantic import Field
from typing_extensions import TypedDict

from breakwater.chassis.clock import Clock
from breakwater.chassis.deadletters import DeadLetter
from breakwater.chassis.errors import InvalidRequestError
from services.gateway.http.answers import Answer, answer, rfc3339_of
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import QueryInput
from services.gateway.ops.console import Console
from services.gateway.ops.edges.backlogs import BacklogBook

LETTERS_MAX = 100


class LettersQuery(QueryInput):
    """The oldest first."""

    limit: int = Field(default=50, ge=1, le=LETTERS_MAX)
    cursor: str = Field(default="", max_length=20, pattern=r"^\d*$")


class WaitingView(TypedDict):
    """One figure of one process. `figure` is a metric without its prefix, `of` a stream or a timer, or empty."""

    process: str
    instance: str
    figure: str
    of: str
    value: float
    age_s: float
    """How long ago it was found."""


class BacklogsView(TypedDict):
    """What waits in every process."""

    as_of: str | None
    items: list[WaitingView]


class LetterView(TypedDict):
    """An event that a consumer gave up."""

    seq: int
    service: str
    stream: str
    event_id: str
    type: str
    subject_id: str
    reason: str
    deliveries: int
    failed_at: str | None
    size_bytes: int


class LettersView(TypedDict):
    """The oldest first."""

    items: list[LetterView]
    next_cursor: str | None


class Letters(Protocol):
    """The stream of dead letters; raises `UnavailableError` while NATS is down."""

    async def read(self, limit: int, *, after_seq: int) -> list[DeadLetter]: ...

    async def replay(self, seq: int) -> DeadLetter: ...


def add_routes(api: Api, console: Console, backlogs: BacklogBook, letters: Letters, clock: Clock) -> None:
    """Adds the routes."""

    @api.route("GET", "/v1/backlogs", BacklogsView, tag="backlogs")
    async def list_backlogs() -> Answer:
        """Outbox, stream and timer lag of every process, as each told it last."""
        items = [
            WaitingView(
                process=each.process,
                instance=each.instance,
                figure=each.figure,
                of=each.of,
                value=each.value,
                age_s=round(each.age_s, 1),
            )
            for each in backlogs.all(clock.monotonic())
        ]
        return answer(BacklogsView(as_of=rfc3339_of(clock.now()), items=items))

    @api.route("GET", "/v1/dead-letters", LettersView, tag="backlogs")
    async def list_dead_letters(query: Annotated[LettersQuery, Query()]) -> Answer:
        """Events that a consumer gave up, with the reason; kept for 14 days."""
        found = await letters.read(query.limit, after_seq=int(query.cursor or 0))
        more = str(found[-1].seq) if len(found) == query.limit else None
        return answer(LettersView(items=[_view(letter) for letter in found], next_cursor=more))

    @api.route("POST", "/v1/dead-letters/{seq}/replay", LetterView, tag="backlogs")
    async def replay_dead_letter(seq: str, call: Call) -> Answer:
        """Publishes the event again and removes the dead letter; receivers that know the event ignore it."""
        if not seq.isdecimal():
            raise InvalidRequestError("a dead letter is named by its number")
        letter = await letters.replay(int(seq))
        console.replayed(call.actor, letter.seq, f"{letter.type} {letter.subject_id}", letter.service)
        return answer(_view(letter))


def _view(letter: DeadLetter) -> LetterView:
    return LetterView(
        seq=letter.seq,
        service=letter.service,
        stream=letter.stream,
        event_id=letter.event_id,
        type=letter.type,
        subject_id=letter.subject_id,
        reason=letter.reason,
        deliveries=letter.deliveries,
        failed_at=rfc3339_of(letter.failed_at),
        size_bytes=letter.size_bytes,
    )
