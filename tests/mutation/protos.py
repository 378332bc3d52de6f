"""Breaks protos: every field, RPC and enum value of the real descriptors, in the ways that break a caller."""

import re
from collections.abc import Iterator

from tests.mutation.mutant import Mutant, Source

# Who uses a file's messages, beside the service that serves it.
FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "leads/v1/leads": ("leads", ("gateway", "files")),
    "leads/v1/events": ("leads", ("notify", "health")),
    "files/v1/files": ("files", ("gateway", "files")),
    "files/v1/events": ("files", ("gateway",)),
    "notify/v1/notify": ("notify", ("gateway", "ops")),
    "health/v1/health": ("health", ("gateway",)),
    "gateway/v1/events": ("gateway", ("files", "notify")),
    "edges/v1/edges": ("notify", ("ops",)),
    "identity/v1/identity": ("health", ("gateway",)),
}
NOBODY = "no known consumer"
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
    for name, (service, consumers) in FILES.items():
        source = Source.of(f"proto/breakwater/{name}.proto")
        for said, edit in (*_fields(source), *_values(source), *_rpcs(source)):
            yield Mutant(f"proto: {name}: {said}", service, "proto", consumers, edit)


def _fields(source: Source) -> Iterator[tuple[str, dict[str, str]]]:
    message = ""
    for index, line in enumerate(source.text.splitlines()):
        if line.startswith("message "):
            message = line.split()[1]
        found = _FIELD.match(line)
        if not found:
            continue
        label, kind, name, number = found.groups()
        place = f"{message}.{name}"
        yield f"{place} deleted", _at(source, index, "")
        yield f"{place} renumbered", _at(source, index, line.replace(f"= {number};", "= 900;"))
        yield f"{place} renamed", _at(source, index, line.replace(f" {name} =", f" {name}_v2 ="))
        if kind in _OTHER:
            yield (
                f"{place} of type {_OTHER[kind]}",
                _at(source, index, line.replace(f"{kind} {name}", f"{_OTHER[kind]} {name}")),
            )
        if label == "repeated":
            yield f"{place} no longer repeated", _at(source, index, line.replace("repeated ", ""))
        elif label is None and not kind.startswith("map"):
            yield f"{place} repeated", _at(source, index, line.replace(f"{kind} {name}", f"repeated {kind} {name}"))


def _values(source: Source) -> Iterator[tuple[str, dict[str, str]]]:
    for index, line in enumerate(source.text.splitlines()):
        found = _VALUE.match(line)
        if found and found[2] != "0":
            yield f"{found[1]} deleted", _at(source, index, "")
            yield f"{found[1]} renumbered", _at(source, index, line.replace(f"= {found[2]};", "= 90;"))
            yield f"{found[1]} renamed", _at(source, index, line.replace(found[1], f"{found[1]}_V2"))


def _rpcs(source: Source) -> Iterator[tuple[str, dict[str, str]]]:
    for index, line in enumerate(source.text.splitlines()):
        found = _RPC.match(line)
        if not found:
            continue
        name, client, request, server, response = found.groups()
        yield f"{name} deleted", _at(source, index, "")
        yield (
            f"{name} streams its answer otherwise",
            _at(
                source,
                index,
                line.replace(f"(stream {response})", f"({response})")
                if server
                else line.replace(f"({response})", f"(stream {response})"),
            ),
        )
        yield (
            f"{name} streams its request otherwise",
            _at(
                source,
                index,
                line.replace(f"(stream {request})", f"({request})")
                if client
                else line.replace(f"({request})", f"(stream {request})", 1),
            ),
        )
        yield (
            f"{name} takes its answer",
            _at(source, index, f"  rpc {name}({client or ''}{response}) returns ({server or ''}{response});"),
        )


def _at(source: Source, index: int, new: str) -> dict[str, str]:
    lines = source.text.splitlines()
    lines[index] = new
    return {source.path: "\n".join(lines) + "\n"}
