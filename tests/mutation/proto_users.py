"""Who uses which part of a proto, read from the consumers' source: the label of a change, found without the gate."""

import re
from collections import defaultdict
from pathlib import Path

from tests.mutation.mutant import ROOT

NOBODY = "no known consumer"
"""As the gate says it of what no deployed release uses."""
_CONSUMERS = ("leads", "notify", "files", "health", "gateway", "ops")
_RPC = re.compile(r"^  rpc (\w+)\((?:stream )?(\w+)\) returns \((?:stream )?(\w+)\);$", re.MULTILINE)
_MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_TYPE = re.compile(r"\b([A-Z]\w+)\b[ >]")


def by_name() -> dict[str, tuple[str, ...]]:
    """Message, enum or RPC to the consumers whose code calls or takes in what holds it; `NOBODY` where none does."""
    sources = {consumer: _code_of(consumer) for consumer in _CONSUMERS}
    paths = sorted((ROOT / "proto/breakwater").rglob("*.proto"))
    texts = {path: re.sub(r"//.*", "", path.read_text(encoding="utf-8")) for path in paths}
    held = {name: set(_TYPE.findall(body)) for text in texts.values() for name, body in _MESSAGE.findall(text)}
    users: defaultdict[str, set[str]] = defaultdict(set)
    for path, text in texts.items():
        package = ".".join(path.relative_to(ROOT / "proto").parts[:-1])
        for rpc, request, response in _RPC.findall(text):
            calling = {consumer for consumer, code in sources.items() if re.search(rf"[./]{rpc}\b", code)}
            for name in (rpc, *_reached({request, response}, held)):
                users[name] |= calling
        for event, _ in _MESSAGE.findall(text) if path.name == "events.proto" else ():
            naming = {consumer for consumer, code in sources.items() if f'"{package}.{event}"' in code}
            # Its publisher names it as well.
            for name in _reached({event}, held):
                users[name] |= naming - {path.parts[-3]}
    return defaultdict(lambda: (NOBODY,), {name: tuple(sorted(found)) for name, found in users.items() if found})


def _code_of(consumer: str) -> str:
    """What a process is made of, in one text."""
    place = ROOT / "services" / ("gateway/ops" if consumer == "ops" else consumer)
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(place.rglob("*.py")) if _owns(consumer, path))


def _owns(consumer: str, path: Path) -> bool:
    return consumer != "gateway" or "ops" not in path.parts


def _reached(names: set[str], held: dict[str, set[str]]) -> set[str]:
    """The messages and enums inside of messages, with these."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += held.get(name, ())
    return found
