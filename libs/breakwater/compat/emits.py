"""What a service sends as a consumer: recorded by running its real processes against stand-ins, driven from outside."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from breakwater.compat import events, openapi, plain_http
from breakwater.compat.candidate import Candidate, CandidateError
from breakwater.compat.messages import Messages
from breakwater.compat.peers import Peers, Received, parts_of, saying
from breakwater.compat.vectors import Recipe, metadata
from breakwater.compat.world import CALLERS, World
from breakwater.local.state import CALLER_ISSUER

PROCESSES_OF: Mapping[str, tuple[str, ...]] = {
    "leads": ("leads",),
    "notify": ("notify",),
    "files": ("files",),
    "health": ("health",),
    "gateway": ("gateway", "ops"),
}
"""The processes of a service's release."""
QUIET_S = 0.7
"""After so long without a new RPC the recording ends."""
RECORD_TIMEOUT_S = 8.0
"""How long what a process calls others for is waited for."""
REQUEST_TIMEOUT_S = 4.0
_KNOWN = {"dependency": "leads"}
"""What paths name that is there; of all else it is enough to ask."""
_POLL_S = 0.05
_FILES, _EDGES = "breakwater.files.v1.FilesService", "breakwater.edges.v1.EdgeService"
_TOLD: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "gateway": {
        f"{_FILES}/StartExport": {"job": {"state": "running"}},
        f"{_FILES}/GetExport": {"job": {"state": "completed", "size_bytes": 1, "sha256": "0" * 64}},
    },
    "ops": {
        f"{_EDGES}/ListEdges": {
            "report": {
                "process": "gateway",
                "instance": "gate",
                # Of every process, as each is asked for its own policies; and one that on-call is told of.
                "edges": [
                    *(
                        {"caller": name, "dependency": "leads", "state": "CIRCUIT_STATE_CLOSED"}
                        for name in sorted(PROCESSES_OF)
                    ),
                    {"caller": "gateway", "dependency": "files", "state": "CIRCUIT_STATE_OPEN"},
                ],
            }
        }
    },
}
"""By process asked over HTTP: what others tell it, so that an export is looked at and read, and policies are asked for."""
_ORDER = b'{"dataset":"leads","format":"csv"}'
_FOLLOWED = {
    "gateway": ("/v1/exports/{}/content", (f"{_FILES}/ReadContent",)),
    "ops": (
        "/v1/dependencies/leads/policy",
        (f"{_EDGES}/ListPolicies", "breakwater.notify.v1.NotifyService/SendNotification"),
    ),
}
"""What is asked of it again and again, until it was seen calling all of these."""


@dataclass(frozen=True, slots=True)
class Emission:
    """What one process sends to one provider."""

    consumer: str
    provider: str
    metadata_key: str
    """Where the credential is; empty when none was sent."""
    scheme: str
    header: dict[str, Any]
    """alg and typ as they are, kid and other members by their type."""
    claims: dict[str, str]
    """The type of each claim; iss, sub and aud as they are."""
    lifetime_s: int
    size_bytes: int
    rpcs: dict[str, list[str]] = field(default_factory=dict)
    """The RPCs called, each with the fields its request set."""

    def document(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)

    def recipe(self) -> Recipe:
        """How to mint such a credential anew."""
        claims: dict[str, Any] = dict(self.claims)
        for name, kind in self.claims.items():
            claims[name] = {"text": "gate", "number": {"now": 0}, "texts": ["gate"], "boolean": True}.get(kind, kind)
        claims |= {"iat": {"now": 0}, "exp": {"now": self.lifetime_s}}
        if "nbf" in claims:
            claims["nbf"] = {"now": 0}
        header = {name: "$current" if name == "kid" and kind == "text" else kind for name, kind in self.header.items()}
        return Recipe("emitted", header, claims, metadata_key=self.metadata_key, scheme=self.scheme)


async def exercise(world: World, candidate: Candidate, peers: Peers, messages: Messages, *, expected: int = 0) -> None:
    """Makes a process do what it calls others for: every HTTP route, every event it takes in; then waits for quiet.

    `expected` types of events are waited for.
    """
    if candidate.process in _TOLD:
        await _follow(world, candidate, peers, messages)
        await drive_http(world, candidate)
    for event_type in await events.consumed(world, candidate.process, expected):
        with suppress(KeyError):
            event = events.sample(messages, event_type)
            await world.bus.request(event.subject, event.body, timeout=5, headers=event.headers)
    known, since_s = 0, time.monotonic()
    deadline_s = since_s + RECORD_TIMEOUT_S
    # The ops process asks whoever is silent after 1.5 s.
    patience_s = QUIET_S + (2.5 if candidate.process == "ops" else 0.0)
    while time.monotonic() < deadline_s and time.monotonic() - since_s < patience_s:
        now_known = len({(call.provider, call.method) for call in peers.calls})
        if now_known != known:
            known, since_s = now_known, time.monotonic()
        await asyncio.sleep(0.05)
    candidate.require_alive()


def caller_headers(world: World, **claims: Any) -> tuple[tuple[str, str], ...]:
    """The Authorization header of a caller who may do everything."""
    who = {"iss": CALLER_ISSUER, "sub": "gate", "aud": "breakwater", "role": "admin", "scope": "all"}
    times = {"iat": {"now": 0}, "exp": {"now": 3600}}
    recipe = Recipe("caller", {"alg": "Ed25519", "kid": "$current", "typ": "JWT"}, who | times | claims)
    return metadata(recipe, world.keys[CALLERS], time.time())


async def drive_http(world: World, candidate: Candidate) -> dict[str, int]:
    """Each operation of the candidate's own OpenAPI document, once; the status of each. Raises `CandidateError`."""
    try:
        document = (await plain_http.get(candidate.http, "/openapi.json", timeout_s=REQUEST_TIMEOUT_S)).json()
        every = openapi.operations(document, _KNOWN)
    except (OSError, ValueError, TimeoutError) as error:
        raise CandidateError(f"{candidate.process} shows no OpenAPI document: {type(error).__name__}") from error

    async def one(operation: openapi.Operation) -> int:
        headers = [*caller_headers(world), ("x-request-timeout", "2")]
        if operation.media_type:
            headers.append(("content-type", operation.media_type))
        try:
            reply = await plain_http.request(
                candidate.http, operation.method.upper(), operation.target, headers, operation.body,
                timeout_s=REQUEST_TIMEOUT_S,
            )  # fmt: skip
        except (OSError, TimeoutError):
            return 0
        return reply.status

    statuses = await asyncio.gather(*(one(operation) for operation in every))
    return {operation.name: status for operation, status in zip(every, statuses, strict=True)}


async def _follow(world: World, candidate: Candidate, peers: Peers, messages: Messages) -> None:
    """What a process asks for only when others told it something. What of it a candidate does not do is not recorded."""
    headers = [*caller_headers(world), ("content-type", "application/json")]
    target, awaited = _FOLLOWED[candidate.process]
    with suppress(OSError, ValueError, LookupError, TypeError, TimeoutError, ParseError):
        for method, said in _TOLD[candidate.process].items():
            answer = ParseDict(said, messages.new(messages.methods_of(method.split(".")[1])[method][1]))
            peers.answers[method] = saying(answer.SerializeToString())
        if candidate.process == "gateway":
            reply = await plain_http.request(
                candidate.http, "POST", "/v1/exports", headers, _ORDER, timeout_s=REQUEST_TIMEOUT_S
            )
            target = target.format(reply.json()["id"])
        deadline_s = time.monotonic() + RECORD_TIMEOUT_S
        while time.monotonic() < deadline_s and not all(peers.of(method) for method in awaited):
            await plain_http.get(candidate.http, target, headers, timeout_s=REQUEST_TIMEOUT_S)
            await asyncio.sleep(_POLL_S)
    peers.answers.clear()


def emissions(process: str, calls: Iterable[Received], messages: Messages) -> list[Emission]:
    """The calls of one process, by provider."""
    by_provider: dict[str, list[Received]] = {}
    for call in calls:
        by_provider.setdefault(call.provider, []).append(call)
    return [_emission(process, provider, group, messages) for provider, group in sorted(by_provider.items())]


def _emission(process: str, provider: str, calls: list[Received], messages: Messages) -> Emission:
    rpcs: dict[str, set[str]] = {}
    for call in calls:
        rpcs.setdefault(call.method, set()).update(_fields(call, messages))
    used = {method: sorted(fields) for method, fields in sorted(rpcs.items())}
    for key, value in calls[0].metadata:
        parts = parts_of(value)
        if parts is not None:
            head, claims = parts
            lifetime_s = int(claims.get("exp", 0)) - int(claims.get("iat", 0))
            scheme = value.rpartition(" ")[0]
            return Emission(
                process, provider, key, scheme, _header(head), _claims(claims), lifetime_s, len(value), used
            )
    return Emission(process, provider, "", "", {}, {}, 0, 0, used)


def _fields(call: Received, messages: Messages) -> list[str]:
    service, _, method = call.method.partition("/")
    known = messages.methods_of(service.split(".")[1]).get(f"{service}/{method}")
    try:
        return messages.fields_set(known[0], call.request) if known else []
    except DecodeError:
        return []


def _header(head: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _kind(value) if name not in {"alg", "typ", "crit", "jku", "b64"} else value
        for name, value in head.items()
    }


def _claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if name in {"iss", "sub", "aud"} else _kind(value) for name, value in sorted(claims.items())}


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "texts"
        case _:
            return type(value).__name__
