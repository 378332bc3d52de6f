"""What a release promises and what it leans on, found by running it, and written down as files.

`describe(root, service, directory)` is what `breakwater release` freezes; the gate reads the files back with `read_*`.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from breakwater.compat import emits, events, plain_http, profile, protos, replay, vectors, world
from breakwater.compat.candidate import Candidate, CandidateError, running
from breakwater.compat.emits import PROCESSES_OF, Emission
from breakwater.compat.events import Event
from breakwater.compat.messages import Messages
from breakwater.compat.peers import standing_in
from breakwater.compat.vectors import ACCEPT, REJECT
from breakwater.compat.world import World
from breakwater.local.topology import PROCESSES

IMAGE = "image.binpb"
AUTH = "auth.yaml"
VECTORS = "vectors.jsonl"
EVENTS = "events.yaml"
OPENAPI = "openapi.json"
OPENAPI_OF = {"gateway": OPENAPI, "ops": "openapi-ops.json"}
"""By process: where what it says of its HTTP interface is kept."""
EMITS = "emits.json"


def files_of(service: str) -> frozenset[str]:
    """The names every release of a service has."""
    every = {IMAGE, AUTH, VECTORS, EVENTS, EMITS}
    return frozenset(every | {OPENAPI_OF[process] for process in PROCESSES_OF[service] if process in OPENAPI_OF})


def describe(root: Path, service: str, directory: Path) -> None:
    """Writes every interface file of `service`, as the tree at `root` has it, into `directory`, which exists.

    Runs the service for real, with servers of its own, some 10 seconds. Raises `RuntimeError` when it crashes, hangs, or
    accepts what must be rejected.
    """
    protos.build_image(root / "proto", service, directory / IMAGE)
    messages = Messages(protos.whole_image(root / "proto"))
    try:
        asyncio.run(_describe(root, service, directory, messages))
    except CandidateError as error:
        raise RuntimeError(str(error)) from error


async def _describe(root: Path, service: str, directory: Path, messages: Messages) -> None:
    emitted: list[Emission] = []
    async with world.opened() as place:
        for process in PROCESSES_OF[service]:
            await events.prepare_streams(place)
            settings = {"ENVIRONMENT": "production"}
            async with (
                standing_in(name for name in PROCESSES if name != process) as peers,
                running(place, root, process, peers.addresses, settings=settings) as candidate,
            ):
                if process == service:
                    await _describe_provider(place, candidate, service, directory, messages)
                await _dump_openapi(candidate, directory)
                await emits.exercise(place, candidate, peers, messages)
            emitted += emits.emissions(process, peers.calls, messages)
    documents = [emission.document() for emission in emitted]
    (directory / EMITS).write_text(json.dumps(documents, ensure_ascii=False, indent=1) + "\n")


async def _describe_provider(
    place: World, candidate: Candidate, service: str, directory: Path, messages: Messages
) -> None:
    method = probe_method(service, messages)
    labelled = await replay.label(place, candidate, service, method)
    vectors.dump(labelled, directory / VECTORS)
    _dump(directory / AUTH, (await profile.measure(place, candidate, service, method, labelled)).document())
    _dump(directory / EVENTS, (await observe_events(place, candidate, service, messages)).document())


async def _dump_openapi(candidate: Candidate, directory: Path) -> None:
    if candidate.process in OPENAPI_OF:
        reply = await plain_http.get(candidate.http, "/openapi.json", timeout_s=5)
        text = json.dumps(reply.json(), ensure_ascii=False, indent=1, sort_keys=True)
        (directory / OPENAPI_OF[candidate.process]).write_text(text + "\n")


def probe_method(service: str, messages: Messages) -> str:
    """The RPC that credentials are tried on: one the service's consumer may call. Raises `ValueError` without any."""
    package = "edges" if service == "gateway" else service
    for method, (_, _, client_streams, server_streams) in sorted(messages.methods_of(package).items()):
        if not client_streams and not server_streams:
            return method
    raise ValueError(f"{service} has no unary RPC to try credentials on")


@dataclass(frozen=True, slots=True)
class Consumed:
    """How a service takes in one type of event."""

    stream: str
    uses: tuple[str, ...]
    """The fields of the body whose values were found in its tables afterwards."""


@dataclass(frozen=True, slots=True)
class EventInterface:
    """What a service publishes and takes in."""

    publishes: Mapping[str, Event]
    """By type: one message as its real publisher made it."""
    consumes: Mapping[str, Consumed]
    takes: Mapping[str, Mapping[str, str]]
    """By stream: each edit of a good event with accept or reject."""

    def document(self) -> dict[str, Any]:
        """As YAML keeps it."""
        return {
            "publishes": {name: event.document() for name, event in sorted(self.publishes.items())},
            "consumes": {
                name: {"stream": each.stream, "uses": list(each.uses)} for name, each in sorted(self.consumes.items())
            },
            "takes": {stream: dict(labels) for stream, labels in sorted(self.takes.items())},
        }


async def observe_events(
    place: World, candidate: Candidate, service: str, messages: Messages, *, expected: int = 0
) -> EventInterface:
    """What a running candidate publishes and takes in; `expected` types of events are waited for."""
    published = await events.published(place, candidate, service, messages)
    consumed = await events.consumed(place, candidate.process, expected)
    samples = {event_type: events.sample(messages, event_type) for event_type in consumed}
    hoped = [ACCEPT] * len(samples)
    taken = await events.take(place, candidate, service, list(samples.values()), hoped)
    refused = [name for name, label in zip(samples, taken, strict=True) if label != ACCEPT]
    if refused:
        raise CandidateError(f"{service} does not take in {', '.join(refused)}: {candidate.log_tail()}")
    rows = await events.rows_text(place, candidate, service)
    found = {
        event_type: Consumed(
            stream, tuple(leaf.path for leaf in messages.sample(event_type)[1] if leaf.shown and leaf.shown in rows)
        )
        for event_type, stream in consumed.items()
    }
    takes = {}
    for stream in sorted(set(consumed.values())):
        first = next(name for name, where in consumed.items() if where == stream)
        takes[stream] = await try_edits(place, candidate, service, samples[first])
    return EventInterface(published, found, takes)


async def try_edits(
    place: World, candidate: Candidate, service: str, event: Event, expected: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Each edit of a good event, with what the running consumer does; `expected` labels spare waiting."""
    tried = events.edits(event)
    sent = [edit.of(event.renewed()) for edit in tried]
    hoped = [expected.get(edit.name, REJECT) for edit in tried] if expected else []
    labels = await events.take(place, candidate, service, sent, hoped)
    return {edit.name: label for edit, label in zip(tried, labels, strict=True)}


def read_emits(path: Path) -> list[Emission]:
    """Raises `ValueError` when the file is not understood."""
    try:
        return [Emission(**document) for document in json.loads(path.read_text())]
    except TypeError as error:
        raise ValueError(f"{path.name} is not understood") from error


def read_events(path: Path) -> EventInterface:
    """Raises `ValueError` when the file is not understood."""
    try:
        document = yaml.safe_load(path.read_text())
        return EventInterface(
            {name: Event.of(each) for name, each in document["publishes"].items()},
            {name: Consumed(each["stream"], tuple(each["uses"])) for name, each in document["consumes"].items()},
            document["takes"],
        )
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(f"{path.name} is not understood") from error


def read_profile(path: Path) -> profile.Profile:
    """Raises `ValueError` when the file is not understood."""
    try:
        return profile.Profile(**yaml.safe_load(path.read_text()))
    except (TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{path.name} is not understood") from error


def _dump(path: Path, document: Any) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=True, allow_unicode=True, width=120))
