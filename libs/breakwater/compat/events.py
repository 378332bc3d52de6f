"""The event dimension: what a candidate publishes and takes in, seen from outside by a real NATS and its own tables."""

import asyncio
import base64
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from breakwater.compat.candidate import Candidate
from breakwater.compat.messages import Messages
from breakwater.compat.vectors import ACCEPT, REJECT
from breakwater.compat.world import World

STREAMS = ("LEADS", "NOTIFY", "FILES", "HEALTH", "GATEWAY")
CONSUMERS_TIMEOUT_S = 6.0
"""A consumer that found no stream looks again after 2 s at most."""
PUBLISH_TIMEOUT_S = 4.0
"""The relay looks every second for what others stored."""
TAKE_TIMEOUT_S = 15.0
"""How long an event that should be taken in may take."""
MESSAGE_ID = "Nats-Msg-Id"
_POLL_S = 0.05
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
# Their values are each message's own; the others say the same in all.
_OWN = frozenset({"ce-id", MESSAGE_ID, "ce-time", "ce-sequence", "ce-subject", "traceparent"})


@dataclass(frozen=True, slots=True)
class Event:
    """One message as it is on NATS."""

    subject: str
    headers: dict[str, str]
    body: bytes

    def renewed(self) -> "Event":
        """The same with an id of its own: an inbox knows the old one."""
        fresh = str(uuid.uuid4())
        ids = {name: fresh for name in ("ce-id", MESSAGE_ID) if name in self.headers}
        return Event(self.subject, self.headers | ids, self.body)

    def document(self) -> dict[str, Any]:
        """As YAML keeps it."""
        return {"subject": self.subject, "headers": dict(self.headers), "body": base64.b64encode(self.body).decode()}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Event":
        """From `document`. Raises `ValueError`."""
        return cls(document["subject"], dict(document["headers"]), base64.b64decode(document["body"], validate=True))


@dataclass(frozen=True, slots=True)
class Edit:
    """How a good event is spoilt, or only written another way."""

    name: str
    headers: dict[str, str | None] = field(default_factory=dict)
    """Laid over the event's; None leaves one out."""
    body: bytes | None = None

    def of(self, event: Event) -> Event:
        """The event with the edit."""
        headers = {name: value for name, value in (event.headers | self.headers).items() if value is not None}
        return Event(event.subject, headers, event.body if self.body is None else self.body)


def sample(messages: Messages, event_type: str) -> Event:
    """An event as the platform's publishers make them, with a value in every field of its body."""
    body, _ = messages.sample(event_type)
    event_id = str(uuid.uuid4())
    headers = {
        MESSAGE_ID: event_id,
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-type": event_type,
        "ce-source": f"/breakwater/{event_type.split('.')[1]}",
        "ce-subject": "gate-subject",
        "ce-time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "ce-sequence": "1",
        "content-type": "application/protobuf",
    }
    return Event(event_type, headers, body.SerializeToString())


def edits(event: Event) -> list[Edit]:
    """Each header left out, in another case, and without meaning; a body that is none."""
    found = []
    for name in event.headers:
        found.append(Edit(f"without {name}", {name: None}))
        other = name.upper() if name != name.upper() else name.lower()
        found.append(Edit(f"{name} as {other}", {name: None, other: event.headers[name]}))
        # NATS itself drops what bears a Nats-Msg-Id of the last two minutes: another run's must not be this one's.
        unmeant = f"?{uuid.uuid4().hex[:8]}" if name == MESSAGE_ID else "?"
        found.append(Edit(f"{name} without meaning", {name: unmeant}))
    found.append(Edit("a body that is no message", body=b"\xff\xff\xff"))
    return found


async def prepare_streams(world: World) -> None:
    """Every stream is there and empty, nobody's consumer is: no candidate meets what another one left."""
    jetstream = world.bus.jetstream()
    present = {info.config.name or "" for info in await jetstream.streams_info()}
    for name in sorted(present):
        # Emptied, not made anew: the server lets go of a stream's files some time after it is gone.
        await jetstream.purge_stream(name)
        for consumer in await jetstream.consumers_info(name):
            await jetstream.delete_consumer(name, consumer.name)
    for name in STREAMS:
        if name not in present:
            # Atomic batches, as the services' own streams.
            config = StreamConfig(name=name, subjects=[f"breakwater.{name.lower()}.v1.>"], allow_atomic=True)
            await jetstream.add_stream(config)


async def consumed(world: World, durable: str, expected: int = 0) -> dict[str, str]:
    """Event type to stream of what a running process takes in. Waits for `expected` types, or for quiet, bounded."""
    jetstream = world.bus.jetstream()
    deadline_s = time.monotonic() + (CONSUMERS_TIMEOUT_S if expected else 1.0)
    while True:
        found: dict[str, str] = {}
        for stream in STREAMS:
            for info in await jetstream.consumers_info(stream):
                if info.name == durable:
                    found |= dict.fromkeys(info.config.filter_subjects or [], stream)
        if (expected and len(found) >= expected) or time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(_POLL_S)


async def published(world: World, candidate: Candidate, service: str, messages: Messages) -> dict[str, Event]:
    """What the candidate's real publisher makes of a row in its outbox, by the type the row names.

    A type that never comes is absent.
    """
    types = messages.events_of(service)
    caught: list[Msg] = []

    async def catch(message: Msg) -> None:
        caught.append(message)

    subscription = await world.bus.subscribe("breakwater.>", cb=catch)
    connection = await world.connect(candidate.database_url)
    try:
        ids = {str(uuid.uuid4()): event_type for event_type in types}
        for event_id, event_type in ids.items():
            body, _ = messages.sample(event_type)
            await connection.execute(
                f'INSERT INTO "{service}".outbox (id, type, subject_id, sequence, payload, occurred_at, traceparent) '  # noqa: S608
                "VALUES ($1::uuid, $2, $3, $4, $5, now(), $6)",
                event_id, event_type, "gate-subject", 7, body.SerializeToString(),
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )  # fmt: skip
        found: dict[str, Event] = {}
        deadline_s = time.monotonic() + PUBLISH_TIMEOUT_S
        while len(found) < len(ids) and time.monotonic() < deadline_s:
            for message in caught:
                # Which messages shared a batch is chance.
                headers = {k: v for k, v in (message.headers or {}).items() if not k.startswith("Nats-Batch-")}
                event = Event(message.subject, headers, message.data)
                own = next((each for each in ids if each in event.headers.values()), "")
                if own:
                    found[ids[own]] = event
            await asyncio.sleep(_POLL_S)
        return found
    finally:
        await connection.close()
        await subscription.unsubscribe()


def kind_of(name: str, value: str) -> str:
    """What a header's value looks like: uuid, time, number, text, or itself where all messages say the same."""
    if name not in _OWN:
        return value
    if _UUID.fullmatch(value):
        return "uuid"
    if _TIME.fullmatch(value):
        return "time"
    return "number" if value.isdigit() else "text"


async def take(
    world: World, candidate: Candidate, service: str, sent: Sequence[Event], expected: Sequence[str] = ()
) -> list[str]:
    """Sends events to a running consumer; accept or reject for each: whether it is in the inbox in the end.

    The wait ends when each was tried, and those `expected` to be accepted were, or after `TAKE_TIMEOUT_S`.
    """
    ids = [event.headers.get("ce-id", "") for event in sent]
    # One request at a time: the order is kept and each is stored when it returns.
    for event in sent:
        await world.bus.request(event.subject, event.body, timeout=5, headers=event.headers)
    asked = sorted({event_id for event_id in ids if _UUID.fullmatch(event_id)})
    hoped = {each for each, label in zip(ids, expected, strict=True) if label == ACCEPT} if expected else set()
    streams = {event.subject.split(".")[1].upper() for event in sent}
    deadline_s = time.monotonic() + TAKE_TIMEOUT_S
    connection = await world.connect(candidate.database_url)
    query = f'SELECT event_id::text AS id FROM "{service}".inbox WHERE event_id = ANY($1::uuid[])'  # noqa: S608
    try:
        while True:
            # Asked before the inbox is: what is accepted by then is in it.
            tried = await _has_tried(world, candidate.process, streams)
            known = {row["id"] for row in await connection.fetch(query, asked)}
            if (tried and known >= hoped) or time.monotonic() >= deadline_s:
                return [ACCEPT if event_id in known else REJECT for event_id in ids]
            candidate.require_alive()
            await asyncio.sleep(_POLL_S)
    finally:
        await connection.close()


async def _has_tried(world: World, durable: str, streams: Iterable[str]) -> bool:
    """Whether a consumer has tried all that is stored: what it did not acknowledge, it wanted again at least once."""
    jetstream = world.bus.jetstream()
    for stream in streams:
        try:
            info = await jetstream.consumer_info(stream, durable)
        except NotFoundError:
            return False
        if info.num_pending or (info.num_ack_pending or 0) > (info.num_redelivered or 0):
            return False
    return True


async def rows_text(world: World, candidate: Candidate, service: str) -> str:
    """Everything the service's tables hold but inbox and outbox, as one text to look for values in."""
    connection = await world.connect(candidate.database_url)
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename !~ '^(inbox|outbox)'", service
        )
        parts = []
        for table in tables:
            rows = await connection.fetch(f'SELECT to_jsonb(t)::text AS row FROM "{service}"."{table["tablename"]}" t')  # noqa: S608
            parts += [row["row"] for row in rows]
        return "\n".join(parts)
    finally:
        await connection.close()
