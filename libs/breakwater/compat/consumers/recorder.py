"""Records what the `breakwater` command asks of gateway and ops, and of their answers what it may lean on, as pacts.

The real command runs against a forwarding recorder before real processes. Of an answer a pact holds what the provider's own
document promises always to be there, by its type: a field that may be null or is named by data holds nothing a type could say.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from breakwater.compat import artifacts, events, openapi, plain_http, world
from breakwater.compat.candidate import Candidate, running
from breakwater.compat.consumers.recorded import CREDENTIAL, PINS
from breakwater.compat.emits import caller_headers
from breakwater.compat.peers import standing_in
from breakwater.compat.world import World
from breakwater.local.ports import HOST
from breakwater.local.topology import PROCESSES

CONSUMER = "cli"
COMMANDS = (
    ("incidents", "--json"),
    ("override", "set", "leads", "--caller", "ops", "--mode", "shadow", "--reason", "recorded", "--ttl", "60s"),
    ("override", "list", "--json"),
    ("override", "clear", "leads", "--caller", "ops"),
    ("policies", "--json"),
    ("export", "leads", "--output", "leads.xlsx"),
)
"""Each as a person types it. One that fails after it has asked, as an export that nobody makes, has asked all the same."""
COMMAND_TIMEOUT_S = 20.0
REQUEST_TIMEOUT_S = 5.0
_POLL_S = 0.05
_SENT = ("authorization", "content-type", "idempotency-key", "x-request-timeout")
"""The headers a consumer chooses; its library adds others."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request and its answer."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    reply: plain_http.Reply

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)


@dataclass(slots=True)
class Recorder:
    """Forwards to a process what a consumer asks of it."""

    process: Candidate
    document: dict[str, Any]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            lines = (line.partition(":") for line in head[1:] if line)
            every = {name.strip().lower(): value.strip() for name, _, value in lines}
            body = await reader.readexactly(int(every.get("content-length", "0")))
            sent = {name: value for name, value in every.items() if name in _SENT}
            reply = await plain_http.request(
                self.process.http, method, target, list(sent.items()), body, timeout_s=REQUEST_TIMEOUT_S
            )
            self.seen.append(Seen(method, target, sent, body, reply))
            media = reply.headers.get("content-type", "application/json")
            head = [f"HTTP/1.1 {reply.status} Recorded", f"content-type: {media}", "connection: close"]
            writer.write("\r\n".join((*head, f"content-length: {len(reply.body)}", "", "")).encode() + reply.body)
        writer.close()


async def record(root: Path) -> dict[str, dict[str, Any]]:
    """By provider: the pact of the command in the tree at `root`. Raises `CandidateError`, or `RuntimeError` for an empty one."""
    async with world.opened() as place:
        await events.prepare_streams(place)
        async with AsyncExitStack() as stack:
            recorders = {
                name: await stack.enter_async_context(_recording(place, root, name)) for name in ("gateway", "ops")
            }
            token = dict(caller_headers(place))["authorization"].partition(" ")[2]
            for command in COMMANDS:
                await _run(command, recorders, token)
            return {name: _pact(name, recorder, token) for name, recorder in recorders.items()}


@asynccontextmanager
async def _recording(place: World, root: Path, process: str) -> AsyncIterator[Recorder]:
    async with (
        standing_in(name for name in PROCESSES if name != process) as neighbours,
        running(place, root, process, neighbours.addresses, settings={"ENVIRONMENT": "production"}) as started,
    ):
        document = (await plain_http.get(started.http, "/openapi.json", timeout_s=REQUEST_TIMEOUT_S)).json()
        recorder = Recorder(started, document)
        server = await asyncio.start_server(recorder.serve, HOST, 0)
        recorder.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield recorder


async def _run(command: Iterable[str], recorders: Mapping[str, Recorder], token: str) -> None:
    """Until it ends, or asks for the same again: then it waits for what nobody here makes."""
    told = {
        "BREAKWATER_TOKEN": token,
        "BREAKWATER_GATEWAY": recorders["gateway"].url,
        "BREAKWATER_OPS_URL": recorders["ops"].url,
    }
    before = {name: len(recorder.seen) for name, recorder in recorders.items()}
    program = str(Path(sys.executable).with_name("breakwater"))
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            program, *command, env=os.environ | told, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                while process.returncode is None:
                    asked = [
                        (name, seen.method, seen.target)
                        for name, recorder in recorders.items()
                        for seen in recorder.seen[before[name] :]
                    ]
                    if len(set(asked)) < len(asked):
                        break
                    await asyncio.sleep(_POLL_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _pact(provider: str, recorder: Recorder, token: str) -> dict[str, Any]:
    """As Pact's version 4 of its files has it."""
    specs = {(each.method, each.path): each for each in openapi.operations(recorder.document)}
    interactions: dict[str, dict[str, Any]] = {}
    for seen in recorder.seen:
        path = _declared(seen, specs)
        if seen.reply.status >= HTTPStatus.MULTIPLE_CHOICES or path.endswith("_id}"):
            # What was refused, and what only this very run knows by its id, is nothing that another one answers.
            continue
        name = f"{seen.method} {path}" + "".join(f" {key}" for key, _ in seen.query)
        interactions.setdefault(
            name, _interaction(name, seen, specs[seen.method.lower(), path], recorder.document, token)
        )
    if not interactions:
        raise RuntimeError(f"the command was not seen asking {provider} for anything")
    return {
        "consumer": {"name": CONSUMER},
        "provider": {"name": provider},
        "interactions": list(interactions.values()),
        "metadata": {"pactSpecification": {"version": "4.0"}},
    }


def _declared(seen: Seen, specs: dict[tuple[str, str], openapi.Operation]) -> str:
    """The document's path of a request; the request's own where it has none."""
    for method, path in specs:
        pattern = re.sub(r"\\\{[^/]*\\\}", "[^/]+", re.escape(path))
        if method == seen.method.lower() and re.fullmatch(pattern, seen.path):
            return path
    return seen.path


def _interaction(
    name: str, seen: Seen, operation: openapi.Operation, document: dict[str, Any], token: str
) -> dict[str, Any]:
    headers = {key: [value.replace(token, CREDENTIAL)] for key, value in seen.headers.items()}
    request: dict[str, Any] = {"method": seen.method, "path": seen.path, "headers": headers}
    if seen.query:
        request["query"] = {key: [value] for key, value in seen.query}
    if seen.body:
        request["body"] = {"content": json.loads(seen.body), "contentType": "application/json", "encoded": False}
    content = operation.spec["responses"][str(seen.reply.status)]["content"]["application/json"]
    body = promised(document, content["schema"], seen.reply.json())
    response = {
        "status": seen.reply.status,
        "body": {"content": body, "contentType": "application/json", "encoded": False},
        "matchingRules": {"body": {"$": {"combine": "AND", "matchers": [{"match": "type"}]}}},
    }
    return {"type": "Synchronous/HTTP", "description": name, "request": request, "response": response}


def promised(document: dict[str, Any], schema: dict[str, Any], value: Any) -> Any:
    """Of a value: what its schema promises in every answer."""
    schema = openapi.resolved(document, schema)
    if isinstance(value, dict):
        every = {name: openapi.resolved(document, each) for name, each in schema.get("properties", {}).items()}
        kept = [name for name in schema.get("required", []) if name in value and "anyOf" not in every[name]]
        return {name: promised(document, every[name], value[name]) for name in kept}
    if isinstance(value, list):
        return [promised(document, schema.get("items", {}), each) for each in value[:1]]
    return value


def write(root: Path, version: str, pacts: dict[str, dict[str, Any]]) -> None:
    """Freezes the pacts under `contracts/pacts/cli/<version>/` and pins them. Raises `ArtifactError` for one that is there."""
    directory = root / "contracts/pacts" / CONSUMER / version
    if directory.exists():
        raise artifacts.ArtifactError(f"{CONSUMER} {version} was recorded before; what it asks now needs a new version")
    directory.mkdir(parents=True)
    for provider, pact in pacts.items():
        text = json.dumps(pact, ensure_ascii=False, indent=1, sort_keys=True)
        (directory / f"{provider}.json").write_text(text + "\n", encoding="utf-8")
    pin = f"{CONSUMER}: {{version: {version}, digest: 'sha256:{artifacts.write_sums(directory)}'}}\n"
    pins = root / "contracts/pacts" / PINS
    others = pins.read_text(encoding="utf-8").splitlines(keepends=True) if pins.is_file() else []
    pins.write_text("".join([*(line for line in others if not line.startswith(f"{CONSUMER}:")), pin]), encoding="utf-8")
