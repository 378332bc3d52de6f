"""Events: what the candidate publishes must suit deployed consumers, what is stored must suit the candidate (check 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from breakwater.compat import events
from breakwater.compat.candidate import Candidate
from breakwater.compat.events import Event, kind_of
from breakwater.compat.interface import Consumed, EventInterface, try_edits
from breakwater.compat.messages import Messages
from breakwater.compat.vectors import ACCEPT, REJECT
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.compat.world import World

DIMENSION = "events"


@dataclass(frozen=True, slots=True)
class Party:
    """A deployed release and its side of events."""

    name: str
    version: str
    interface: EventInterface


def published(
    version: str, before: EventInterface, now: Mapping[str, Event], consumers: Sequence[Party]
) -> CheckResult:
    """The real publisher's messages beside those of the deployed release, as each deployed consumer needs them."""
    found: list[Finding] = []
    for event_type, old in before.publishes.items():
        takers = [party for party in consumers if event_type in party.interface.consumes]
        new = now.get(event_type)
        cure = f"Publish it as {version} does until every consumer adapts."
        if new is None:
            problem = "is not published any more"
        elif new.subject != old.subject:
            problem = f"is published on {new.subject}, not on {old.subject}"
        else:
            problem = ""
        if problem:
            found.append(_of(takers, event_type, problem, cure))
        elif new is not None:
            found += _headers(event_type, old, new, takers, cure)
    return CheckResult(f"events published, beside {version}", max(1, len(before.publishes)), tuple(found))


def _headers(event_type: str, old: Event, new: Event, takers: Sequence[Party], cure: str) -> list[Finding]:
    found = []
    for name, value in old.headers.items():
        said = new.headers.get(name)
        if said is not None and kind_of(name, said) == kind_of(name, value):
            continue
        problem = f"lost the header {name}" if said is None else f"has {said!r} as {name}, not {_shape(name, value)}"
        stream = old.subject.split(".")[1].upper()
        edit = f"without {name}" if said is None else f"{name} without meaning"
        needing = [party for party in takers if party.interface.takes.get(stream, {}).get(edit) == REJECT]
        if needing or name == "Nats-Msg-Id" or said is not None:
            found.append(_of(needing or takers, event_type, problem, cure))
        else:
            found.append(Finding(Verdict.NARROWED, DIMENSION, event_type, problem, cure))
    if new.headers.get("Nats-Msg-Id") != new.headers.get("ce-id"):
        found.append(_of(takers, event_type, "has a Nats-Msg-Id that is not its ce-id: repeats are not known", cure))
    return found


def _shape(name: str, value: str) -> str:
    kind = kind_of(name, value)
    return repr(value) if kind == value else f"a {kind}"


def _of(takers: Sequence[Party], event_type: str, problem: str, cure: str) -> Finding:
    subject = ", ".join(f"{party.name} {party.version}" for party in takers) or "no known consumer"
    return Finding(Verdict.BREAKING, DIMENSION, subject, f"takes in {event_type}, which {problem}", cure)


async def taken_in(
    world: World,
    candidate: Candidate,
    service: str,
    version: str,
    before: EventInterface,
    consumed: Mapping[str, str],
    providers: Sequence[Party],
    messages: Messages,
) -> CheckResult:
    """Stored messages of deployed publishers, and each edit of one, taken in by the running candidate."""
    found: list[Finding] = []
    cure = f"Take in what is stored, or stay on {version}."
    stored: dict[str, tuple[Party, Event]] = {}
    for event_type, old in before.consumes.items():
        party = next((each for each in providers if event_type in each.interface.publishes), None)
        if consumed.get(event_type) != old.stream:
            subject = f"{party.name} {party.version}" if party else old.stream
            found.append(
                Finding(
                    Verdict.BREAKING, DIMENSION, subject, f"publishes {event_type}; {service} takes it in no more", cure
                )
            )
        elif party is not None:
            stored[event_type] = (party, party.interface.publishes[event_type].renewed())
    sent = [event for _, event in stored.values()]
    labels = await events.take(world, candidate, service, sent, [ACCEPT] * len(sent))
    rows = await events.rows_text(world, candidate, service)
    for (event_type, (party, _)), label in zip(stored.items(), labels, strict=True):
        subject = f"{party.name} {party.version}"
        if label != ACCEPT:
            detail = f"published {event_type}; {service} refuses the stored message"
            found.append(Finding(Verdict.BREAKING, DIMENSION, subject, detail, cure))
            continue
        lost = _lost(messages, before.consumes[event_type], event_type, rows)
        if lost:
            detail = f"publishes {event_type}; {service} makes nothing of {', '.join(lost)} any more"
            found.append(Finding(Verdict.BREAKING, DIMENSION, subject, detail, cure))
    examined = len(before.consumes)
    if not found:
        tried, missed = await _edits(world, candidate, service, before, stored, cure)
        examined, found = examined + tried, missed
    return CheckResult(f"events taken in, beside {version}", max(1, examined), tuple(found))


def _lost(messages: Messages, old: Consumed, event_type: str, rows: str) -> list[str]:
    shown = {leaf.path: leaf.shown for leaf in messages.sample(event_type)[1]}
    return [path for path in old.uses if shown.get(path) and shown[path] not in rows]


async def _edits(
    world: World,
    candidate: Candidate,
    service: str,
    before: EventInterface,
    stored: Mapping[str, tuple[Party, Event]],
    cure: str,
) -> tuple[int, list[Finding]]:
    """Each edit of a good event: what the deployed release took in must still be taken in."""
    examined, found = 0, []
    for stream, labels in before.takes.items():
        first = next((each for name, each in stored.items() if before.consumes[name].stream == stream), None)
        if first is None:
            continue
        party, event = first
        plain = Event(event.subject, {k: v for k, v in event.headers.items() if k != "traceparent"}, event.body)
        now = await try_edits(world, candidate, service, plain, labels)
        if now != labels:
            # Looked at again: a machine that stood still must not become a verdict.
            now = await try_edits(world, candidate, service, plain, labels)
        examined += len(now)
        refused = [name for name, label in labels.items() if label == ACCEPT and now.get(name) == REJECT]
        loosened = [name for name, label in labels.items() if label == REJECT and now.get(name) == ACCEPT]
        if refused:
            subject, detail = f"{party.name} {party.version}", f"{service} refuses events: {', '.join(refused)}"
            found.append(Finding(Verdict.NARROWED, DIMENSION, subject, detail, cure))
        if loosened:
            subject, detail = f"{party.name} {party.version}", f"{service} takes in events: {', '.join(loosened)}"
            found.append(
                Finding(Verdict.LOOSENED, DIMENSION, subject, detail, "Refuse them again, or have it approved.")
            )
    return examined, found
