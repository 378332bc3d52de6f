"""Breaks events: what a publisher puts on NATS, and what a consumer makes of it."""

import ast
import itertools
import re
from collections.abc import Iterator

import yaml

from tests.mutation.mutant import Mutant, Source, deployed, walk

CLOUDEVENTS = "libs/breakwater/chassis/cloudevents.py"
OUTBOX = "libs/breakwater/chassis/outbox.py"
INBOX = "libs/breakwater/chassis/inbox.py"
# Who takes in what a service publishes.
TAKERS = {"leads": ("notify", "health"), "files": ("gateway",)}
# Whose events a service takes in.
SOURCES = {"notify": ("leads", "gateway"), "health": ("leads",), "files": ("gateway",)}


def mutants() -> Iterator[Mutant]:
    """All of them, in a fixed order."""
    publishers = itertools.cycle(TAKERS)
    for name, edit in _published():
        service = next(publishers)
        yield Mutant(f"events: {name} ({service})", service, "events", TAKERS[service], edit)
    takers = itertools.cycle(SOURCES)
    for name, edit in _received():
        service = next(takers)
        yield Mutant(f"events: {name} ({service})", service, "events", SOURCES[service], edit)
    for service in SOURCES:
        yield from _consumer(service)


def _published() -> Iterator[tuple[str, dict[str, str]]]:
    source, outbox = Source.of(CLOUDEVENTS), Source.of(OUTBOX)
    needed = ("ce-id", "ce-type", "ce-subject", "ce-time", "ce-sequence")
    for header in needed:
        line = next(line for line in source.text.splitlines() if f'"{header}": ' in line)
        value = line.split(": ", 1)[1].rstrip(",")
        yield f"{header} left out", source.replaced(line + "\n", "")
        yield f"{header} in upper case", source.replaced(f'"{header}": ', f'"{header.upper()}": ')
        yield f"{header} renamed", source.replaced(f'"{header}": ', f'"{header.replace("ce-", "cloudevents-")}": ')
        if header in {"ce-id", "ce-time", "ce-sequence"}:
            yield (
                f"{header} without meaning",
                source.replaced(f"{value},", '"?",', 1)
                if header != "ce-id"
                else source.replaced('"ce-id": event_id', '"ce-id": event_id.replace("-", "")'),
            )
    yield "no Nats-Msg-Id", source.replaced("        MESSAGE_ID: event_id,\n", "")
    yield "Nats-Msg-Id of its own", source.replaced("MESSAGE_ID: event_id", 'MESSAGE_ID: event_id + "-1"')
    yield (
        "ce-type without the package",
        source.replaced('"ce-type": event_type', '"ce-type": event_type.rpartition(".")[2]'),
    )
    yield "ce-specversion 2.0", source.replaced('SPEC_VERSION: Final = "1.0"', 'SPEC_VERSION: Final = "2.0"')
    yield "content-type JSON", source.replaced('"application/protobuf"', '"application/json"')
    yield "ce-time without a zone", source.replaced('.replace("+00:00", "Z")', '.replace("+00:00", "")')
    yield (
        "ce-time in seconds",
        source.replaced(
            'time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")',
            "str(int(time.timestamp()))",
        ),
    )
    message = 'return BusMessage(row["type"], row["payload"], headers)'
    yield (
        "subject with another version",
        outbox.replaced(message, message.replace('row["type"]', 'row["type"].replace(".v1.", ".v2.")')),
    )
    yield "subject in lower case", outbox.replaced(message, message.replace('row["type"]', 'row["type"].lower()'))
    yield "subject by another name", outbox.replaced(message, message.replace('row["type"]', 'row["type"] + "V2"'))


def _received() -> Iterator[tuple[str, dict[str, str]]]:
    source, inbox = Source.of(CLOUDEVENTS), Source.of(INBOX)
    for header in ("ce-id", "ce-type", "ce-subject", "ce-sequence", "ce-time"):
        yield f"reads {header} in another case", source.replaced(f'headers["{header}"]', f'headers["{header.title()}"]')
        yield f"reads {header} under another name", source.replaced(f'headers["{header}"]', f'headers["{header[3:]}"]')
    yield "wants another sequence", source.replaced('int(headers["ce-sequence"])', 'int(headers["ce-sequence"], 2)')
    yield (
        "wants times without a zone",
        source.replaced(
            'datetime.fromisoformat(headers["ce-time"])', 'datetime.strptime(headers["ce-time"], "%Y-%m-%dT%H:%M:%S")'
        ),
    )
    yield "wants traceparent", source.replaced('headers.get("traceparent")', 'headers["traceparent"] + ""')
    yield (
        "drops every event",
        inbox.replaced(
            "async with self._db.transaction() as tx:\n            ids",
            "raise ValueError\n        async with self._db.transaction() as tx:\n            ids",
        ),
    )


def _consumer(service: str) -> Iterator[Mutant]:
    """Each type not taken in any more, and each field of a message not read any more."""
    source, uses = Source.of(f"services/{service}/consumer.py"), _consumed(service)
    for quoted in sorted(set(re.findall(r'"breakwater\.[a-z]+\.v1\.[A-Za-z]+": ', source.text))):
        line = next(line for line in source.text.splitlines() if quoted in line)
        owner, kind = quoted.split(".")[1], quoted.split(".")[3].split('"')[0]
        if kind not in uses:
            continue
        renamed = quoted.replace(kind, f"{kind}V2")
        yield Mutant(
            f"events: {service} takes in no {kind}",
            service,
            "events",
            (owner,),
            source.replaced(line, line.replace(quoted, renamed)),
        )
    for function in walk(source.tree(), ast.FunctionDef | ast.AsyncFunctionDef):
        kinds = re.findall(r"(\w+)\.FromString", source.segment(function))
        for node in walk(function, ast.Attribute) if len(kinds) == 1 else ():
            assert isinstance(node, ast.Attribute)
            used = node.attr in uses.get(kinds[0], ())
            if used and isinstance(node.value, ast.Name) and node.value.id in {"told", "wanted"}:
                said = source.segment(node)
                edit = source.with_node(node, f"type({node.value.id})().{node.attr}")
                name = f"events: {service} reads no {said} of {kinds[0]} (line {node.lineno})"
                yield Mutant(name, service, "events", SOURCES[service], edit)


def _consumed(service: str) -> dict[str, set[str]]:
    """The types of event that the deployed release takes in, with the fields it was seen using."""
    consumes = yaml.safe_load((deployed(service) / "events.yaml").read_text(encoding="utf-8"))["consumes"]
    return {kind.rpartition(".")[2]: {use.partition(".")[0] for use in each["uses"]} for kind, each in consumes.items()}
