"""A consumer pact of the gateway's HTTP interface, and its verification against a running gateway.

The consumer is the most demanding there can be: it calls every operation of the document, sends every field it may, reads
every field it was answered, and leans on being refused without a credential. A change it does not notice, no consumer's
pact would.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pact import Pact, match

from breakwater.compat import openapi, plain_http
from breakwater.compat.emits import caller_headers
from breakwater.compat.messages import Messages
from breakwater.compat.openapi import Operation
from breakwater.compat.peers import Answer
from breakwater.compat.world import World

CONSUMER = "callers"
PROVIDER = "gateway"
WITH, WITHOUT = "with a credential", "without a credential"
TIMEOUT_S = 5.0
_NEIGHBOURS = ("leads", "files", "notify", "health")


@dataclass(frozen=True, slots=True)
class Call:
    """One interaction as it was with the unchanged gateway."""

    description: str
    operation: Operation
    query: Mapping[str, str]
    headers: Mapping[str, str]
    reply: plain_http.Reply

    @property
    def target(self) -> str:
        return f"{self.operation.target}?{urlencode(self.query)}" if self.query else self.operation.target


def answering(messages: Messages) -> Answer:
    """A neighbour that answers each RPC with a value in every field: an empty list would hide what it is a list of."""
    kinds: dict[str, tuple[str, str, bool, bool]] = {}
    for name in _NEIGHBOURS:
        kinds |= messages.methods_of(name)

    async def answer(received: Any, _: Any) -> Any:
        known = kinds.get(received.method)
        yield messages.sample(known[1])[0].SerializeToString() if known else b""

    return answer


async def called(world: World, base: str, document: dict[str, Any]) -> list[Call]:
    """Every operation with the credential of a caller who may do everything, and those that are guarded without one."""
    calls = []
    token = {"Authorization": dict(caller_headers(world))["authorization"]}
    for operation in openapi.operations(document):
        if not operation.path.startswith("/v1/"):
            # The document itself, pages for people, probes: no consumer of the API leans on their fields.
            continue
        query = {"limit": "200"} if _takes_limit(operation) else {}
        call = await _call(base, WITH, _fullest(document, operation), query, token)
        if call.reply.status >= HTTPStatus.MULTIPLE_CHOICES:
            # The document's own least request, where the fullest says too much at once.
            call = await _call(base, WITH, operation, query, token)
        if call.reply.status < HTTPStatus.MULTIPLE_CHOICES:
            calls.append(call)
        if operation.guarded:
            calls.append(await _call(base, WITHOUT, operation, {}, {}))
    return calls


async def _call(
    base: str, kind: str, operation: Operation, query: Mapping[str, str], headers: Mapping[str, str]
) -> Call:
    media = {"Content-Type": operation.media_type} if operation.media_type else {}
    call = Call(f"{operation.name} {kind}", operation, query, {**headers, **media}, plain_http.Reply(0, {}, b""))
    reply = await _sent(base, call)
    return Call(call.description, operation, query, call.headers, reply)


async def _sent(base: str, call: Call) -> plain_http.Reply:
    method, headers = call.operation.method.upper(), list(call.headers.items())
    return await plain_http.request(base, method, call.target, headers, call.operation.body, timeout_s=TIMEOUT_S)


async def recorded(calls: Sequence[Call], folder: Path) -> Path:
    """The pact that a consumer's test writes: it makes these calls of Pact's own server."""
    pact = Pact(CONSUMER, PROVIDER).with_specification("V4")
    for call in calls:
        _add(pact, call)
    with pact.serve() as server:
        for call in calls:
            await _sent(str(server.url).rstrip("/"), call)
    pact.write_file(folder)
    return folder / f"{CONSUMER}-{PROVIDER}.json"


def _add(pact: Pact, call: Call) -> None:
    operation, reply = call.operation, call.reply
    told = pact.upon_receiving(call.description).with_request(operation.method.upper(), operation.target)
    for name, value in call.query.items():
        told.with_query_parameter(name, value)
    for name, value in call.headers.items():
        told.with_header(name, value)
    if operation.media_type == "application/json":
        told.with_body(operation.body.decode(), operation.media_type)
    elif operation.media_type:
        told.with_binary_body(operation.body, operation.media_type)
    told.will_respond_with(reply.status)
    if reply.headers.get("content-type", "").partition(";")[0] == "application/json":
        told.with_body(match.like(reply.json()), "application/json")


def _takes_limit(operation: Operation) -> bool:
    return any(each["name"] == "limit" for each in operation.spec.get("parameters", []))


def _fullest(document: dict[str, Any], operation: Operation) -> Operation:
    if operation.media_type != "application/json":
        return operation
    schema = operation.spec["requestBody"]["content"]["application/json"]["schema"]
    body = _full(document, schema)
    return Operation(
        operation.method,
        operation.path,
        operation.spec,
        operation.target,
        json.dumps(body).encode(),
        operation.media_type,
    )


def _full(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """The example of a schema, and one for each property that it leaves out."""
    value = openapi.example(document, schema)
    properties = openapi.resolved(document, schema).get("properties", {})
    if not isinstance(value, dict):
        return value
    return {name: _full(document, each) for name, each in properties.items()} | value
