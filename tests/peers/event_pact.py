"""Message pacts of the platform's events: what deployed consumers need, held against a running publisher or consumer.

Without Pact's plug-in for protobuf, which no Python package carries, a body is opaque to Pact: it compares bytes. What it can
express are subject and headers.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from pact import Pact, Verifier, match

from breakwater.compat import events
from breakwater.compat.candidate import Candidate
from breakwater.compat.consumers.verifier import run
from breakwater.compat.events import Event
from breakwater.compat.messages import Messages
from breakwater.compat.vectors import ACCEPT
from breakwater.compat.world import World
from breakwater.local.ports import HOST

CONSUMER = "consumers"
MEDIA = "application/protobuf"
_FORMS = {
    "uuid": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    "time": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$",
    "number": r"^\d+$",
    "text": r"^.+$",
}


def _pact(provider: str, expected: Mapping[str, Event]) -> Pact:
    pact = Pact(CONSUMER, provider).with_specification("V4")
    for name, event in expected.items():
        told = pact.upon_receiving(name, "Async").with_binary_body(event.body, MEDIA)
        for header, value in {"subject": event.subject, **event.headers}.items():
            form = _FORMS.get(events.kind_of(header, value))
            told.with_metadata({header: match.regex(value, regex=form) if form else value})
    return pact


def published_otherwise(
    service: str, expected: Mapping[str, Event], published: Mapping[str, Event], folder: Path
) -> list[str]:
    """Where what a running publisher put on NATS is not what the pact of its deployed consumers says."""
    _pact(service, expected).write_file(folder, overwrite=True)

    messages = {
        name: {
            "contents": event.body,
            "metadata": {"subject": event.subject, **event.headers},
            "content_type": event.headers.get("content-type", ""),
        }
        for name, event in published.items()
    }
    verifier = Verifier(service, host=HOST).message_handler(messages)
    verifier.add_source(folder / f"{CONSUMER}-{service}.json").set_coloured_output(enabled=False)
    return run(verifier)


async def not_taken_in(
    world: World, candidate: Candidate, service: str, messages: Messages, types: list[str]
) -> list[str]:
    """Where a running consumer does not take in what its own pact says: its handler raises, as in a consumer's test."""
    samples = {name: events.sample(messages, name) for name in types}
    pact = _pact("publishers", samples)
    heard: list[Event] = []

    def hear(body: str | bytes | None, metadata: dict[str, object]) -> None:
        headers = {name: str(value) for name, value in metadata.items()}
        content = body if isinstance(body, bytes) else (body or "").encode()
        heard.append(Event(headers.pop("subject"), headers, content).renewed())

    pact.verify(hear, "Async")
    labels = await events.take(world, candidate, service, heard, [ACCEPT] * len(heard))
    taken = iter(label == ACCEPT for label in labels)

    def handle(_: str | bytes | None, __: dict[str, object]) -> None:
        if not next(taken):
            raise ValueError("was not taken in")

    problems = await asyncio.to_thread(pact.verify, handle, "Async", raises=False)
    return [str(each) for each in problems]
