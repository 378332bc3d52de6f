"""Breaks protos: every field, RPC and enum value of the real descriptors, in the ways that break a caller."""

import re
from collections.abc import Iterator

from breakwater.compat.artifacts import IMAGE
from breakwater.compat.messages import Messages
from tests.mutation import proto_users
from tests.mutation.mutant import Mutant, Source, deployed

# The service whose release answers for a file.
FILES: dict[str, str] = {
    "leads/v1/leads": "leads",
    "leads/v1/events": "leads",
    "files/v1/files": "files",
    "files/v1/events": "files",
    "notify/v1/notify": "notify",
    "health/v1/health": "health",
    "gateway/v1/events": "gateway",
    "edges/v1/edges": "notify",
    "identity/v1/identity": "health",
}
_FIELD = re.compile(r"^  (?:(repeated|optional) )?([\w.]+(?:<[^>]+>)?) (\w+) = (\d+)(?: \[[^\]]*\])?;$")
_VALUE = re.compile(r"^  ([A-Z][A-Z0-9_]+) = (\d+);$")
_RPC = re.compile(r"^  rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\);$")
_OTHER = {
    "string": "bytes",
    "int64": "string",
    "int32": "string",
    "double": "string",
    "bool": "string",
    "bytes": "string",
}


def mutants() -> Iterator[Mutant]:
    """All of them, in a fixed order."""
    consumers = proto_users.by_name()
    for name, service in FILES.items():
        source, released = Source.of(f"proto/breakwater/{name}.proto"), _released(service)
        for element, said, edit in (*_fields(source), *_values(source), *_rpcs(source)):
            # What is in no release yet breaks nobody.
            if element in released:
                holder = element.partition(".")[0]
                yield Mutant(f"proto: {name}: {element} {said}", service, "proto", consumers[holder], edit)


def _released(service: str) -> set[str]:
    """`Message.field`, `Enum.VALUE` and RPC of what the deployed release has."""
    found = set()
    for file in Messages.of(deployed(service) / IMAGE).files.file:
        found |= {f"{message.name}.{field.name}" for message in file.message_type for field in message.field}
        found |= {f"{enum.name}.{value.name}" for enum in file.enum_type for value in enum.value}
        found |= {method.name for each in file.service for method in each.method}
    return found


Change = tuple[str, str, dict[str, str]]
"""The field, value or RPC that is changed, what is said of it, the edit."""


def _fields(source: Source) -> Iterator[Change]:
    message = ""
    for index, line in enumerate(source.text.splitlines()):
        if line.startswith("message "):
            message = line.split()[1]
        found = _FIELD.match(line)
        if not found:
            continue
        label, kind, name, number = found.groups()
        place = f"{message}.{name}"
        for said, new in (
            ("deleted", ""),
            ("renumbered", line.replace(f"= {number};", "= 900;")),
            ("renamed", line.replace(f" {name} =", f" {name}_v2 =")),
        ):
            yield place, said, _at(source, index, new)
        if kind in _OTHER:
            other = line.replace(f"{kind} {name}", f"{_OTHER[kind]} {name}")
            yield place, f"of type {_OTHER[kind]}", _at(source, index, other)
        if label == "repeated":
            yield place, "no longer repeated", _at(source, index, line.replace("repeated ", ""))
        elif label is None and not kind.startswith("map"):
            several = line.replace(f"{kind} {name}", f"repeated {kind} {name}")
            yield place, "repeated", _at(source, index, several)


def _values(source: Source) -> Iterator[Change]:
    enum = ""
    for index, line in enumerate(source.text.splitlines()):
        if line.startswith("enum "):
            enum = line.split()[1]
        found = _VALUE.match(line)
        if found and found[2] != "0":
            place = f"{enum}.{found[1]}"
            yield place, "deleted", _at(source, index, "")
            yield place, "renumbered", _at(source, index, line.replace(f"= {found[2]};", "= 90;"))
            yield place, "renamed", _at(source, index, line.replace(found[1], f"{found[1]}_V2"))


def _rpcs(source: Source) -> Iterator[Change]:
    for index, line in enumerate(source.text.splitlines()):
        found = _RPC.match(line)
        if not found:
            continue
        name, client, request, server, response = found.groups()
        one, several = f"({response})", f"(stream {response})"
        answer = line.replace(several, one) if server else line.replace(one, several)
        one, several = f"({request})", f"(stream {request})"
        asking = line.replace(several, one) if client else line.replace(one, several, 1)
        swapped = f"  rpc {name}({client or ''}{response}) returns ({server or ''}{response});"
        yield name, "deleted", _at(source, index, "")
        yield name, "streams its answer otherwise", _at(source, index, answer)
        yield name, "streams its request otherwise", _at(source, index, asking)
        yield name, "takes its answer", _at(source, index, swapped)


def _at(source: Source, index: int, new: str) -> dict[str, str]:
    lines = source.text.splitlines()
    lines[index] = new
    return {source.path: "\n".join(lines) + "\n"}
