"""Callers: the real clients against providers that reject, are unavailable, or hang (check 5).

What must hold: an error or the fallback inside the budget, and one attempt where the provider refused the credential.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from breakwater.compat import events, plain_http
from breakwater.compat.candidate import Candidate
from breakwater.compat.emits import caller_headers
from breakwater.compat.messages import Messages
from breakwater.compat.peers import Answer, Peers, hanging, refusing, saying
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.compat.world import World

DIMENSION = "callers"
_ROWS = "breakwater.leads.v1.LeadsService/StreamDataset"
_REQUESTED = "breakwater.gateway.v1.ExportRequested"
BUDGET_S = 2.0
"""What a user waits for an error or a fallback."""
SLACK_S = 10.0
"""For a machine that is busy with something else: a verdict must not depend on it. What hangs takes longer still."""
JOB_TIMEOUT_S = 20.0
"""For a job whose user does not wait: to be taken up, its encoder started, and put back."""
ATTEMPTS_MAX = 3
"""Of one call to a provider that is unavailable or hangs (resilience.md)."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of failing. `once`: the credential was refused, so a second attempt cannot help."""

    name: str
    answer: Answer
    once: bool


def _details(code: grpc.StatusCode, reason: str, *, retry_after_s: int = 0) -> bytes:
    info = error_details_pb2.ErrorInfo(reason=reason, domain="transport.breakwater")
    packed = [AnyMessage(), AnyMessage()]
    packed[0].Pack(info)
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = retry_after_s
    packed[1].Pack(retry)
    status = status_pb2.Status(code=code.value[0], message="refused", details=packed[: 2 if retry_after_s else 1])
    content: bytes = status.SerializeToString()
    return content


_UNAUTHENTICATED, _DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
AUTH_FAILURES = (
    Way("UNAUTHENTICATED", refusing(_UNAUTHENTICATED), once=True),
    Way(
        "UNAUTHENTICATED with details",
        refusing(_UNAUTHENTICATED, _details(_UNAUTHENTICATED, "token_refused")),
        once=True,
    ),
    Way("UNAUTHENTICATED with details of no meaning", refusing(_UNAUTHENTICATED, b"\xff\xff\xff"), once=True),
    Way(
        "UNAUTHENTICATED that asks for another attempt",
        refusing(_UNAUTHENTICATED, _details(_UNAUTHENTICATED, "token_refused", retry_after_s=1)),
        once=True,
    ),
    Way("UNAUTHENTICATED after the headers", refusing(_UNAUTHENTICATED, headers_first=True), once=True),
    Way("UNAUTHENTICATED after a while", refusing(_UNAUTHENTICATED, delay_s=0.3), once=True),
    Way("PERMISSION_DENIED", refusing(_DENIED), once=True),
    Way("PERMISSION_DENIED with details", refusing(_DENIED, _details(_DENIED, "caller_refused")), once=True),
)
"""Eight ways in which a provider refuses a credential."""
REHEARSED = (
    AUTH_FAILURES[1],
    Way("UNAVAILABLE", refusing(grpc.StatusCode.UNAVAILABLE), once=False),
    Way("no answer", hanging, once=False),
)
"""What every run of the gate tries."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a user's request went: what went wrong, if anything, and how long it took."""

    problem: str
    took_s: float


Drive = Callable[[World, Candidate, Peers, Messages], Awaitable[Seen]]


def _route(method: str, target: str, body: bytes = b"", *, expected: frozenset[int]) -> Drive:
    async def drive(world: World, candidate: Candidate, _: Peers, __: Messages) -> Seen:
        headers = [*caller_headers(world), ("x-request-timeout", str(BUDGET_S))]
        if body:
            headers.append(("content-type", "application/json"))
        began_s = time.monotonic()
        try:
            reply = await plain_http.request(
                candidate.http, method, target, headers, body, timeout_s=BUDGET_S + SLACK_S
            )
        except (OSError, TimeoutError) as error:
            return Seen(f"the user got {type(error).__name__}", time.monotonic() - began_s)
        took_s = time.monotonic() - began_s
        return Seen("" if reply.status in expected else f"the user got {reply.status}", took_s)

    return drive


async def _export(world: World, candidate: Candidate, _: Peers, __: Messages) -> Seen:
    """An export whose files service fails: the local engine makes it (37)."""
    headers = [*caller_headers(world), ("content-type", "application/json")]
    body = b'{"dataset":"leads","format":"csv"}'
    began_s = time.monotonic()
    limit_s = BUDGET_S + SLACK_S
    try:
        reply = await plain_http.request(candidate.http, "POST", "/v1/exports", headers, body, timeout_s=limit_s)
        if reply.status != 202:  # noqa: PLR2004 - accepted
            return Seen(f"the user got {reply.status}", time.monotonic() - began_s)
        target = f"/v1/exports/{reply.json()['id']}"
        while time.monotonic() - began_s < limit_s:
            view = (await plain_http.get(candidate.http, target, headers, timeout_s=limit_s)).json()
            if view.get("engine") == "local" or view.get("state") in {"degraded", "failed"}:
                return Seen("", time.monotonic() - began_s)
            await asyncio.sleep(0.05)
    except (OSError, ValueError, KeyError, TimeoutError) as error:
        return Seen(f"the user got {type(error).__name__}", time.monotonic() - began_s)
    return Seen("the fallback was not taken", time.monotonic() - began_s)


async def _claimed_export(world: World, candidate: Candidate, peers: Peers, messages: Messages) -> Seen:
    """An export files has claimed, whose rows leads does not give: put back or failed soon after leads was asked."""
    event = events.sample(messages, _REQUESTED)
    wanted: Any = messages.new(_REQUESTED)
    wanted.ParseFromString(event.body)
    # An id of its own: one that is known is no new job.
    wanted.export_id = str(uuid.uuid4())
    connection = await world.connect(candidate.database_url)
    # A job put back earlier would call again by itself.
    await connection.execute("DELETE FROM files.export_job")
    began_s = time.monotonic()
    await world.bus.request(event.subject, wanted.SerializeToString(), timeout=5, headers=event.headers)
    query = "SELECT state, failures + defects AS tried FROM files.export_job WHERE id = $1::uuid"
    try:
        while time.monotonic() - began_s < JOB_TIMEOUT_S:
            row = await connection.fetchrow(query, wanted.export_id)
            asked_s = next((call.at_s for call in peers.calls if call.method == _ROWS), None)
            if row is not None and (row["state"] == "failed" or row["tried"]):
                return Seen("", time.monotonic() - (asked_s or began_s))
            candidate.require_alive()
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    return Seen("the job was neither put back nor failed", time.monotonic() - began_s)


async def _console(world: World, candidate: Candidate, _: Peers, __: Messages) -> Seen:
    """The console of the ops process while a process does not tell of its edges."""
    began_s = time.monotonic()
    try:
        reply = await plain_http.get(
            candidate.http, "/v1/dependencies", caller_headers(world), timeout_s=BUDGET_S + SLACK_S
        )
    except (OSError, TimeoutError) as error:
        return Seen(f"the user got {type(error).__name__}", time.monotonic() - began_s)
    # Asked every half second; the polls are what calls the others.
    await asyncio.sleep(max(0.0, 1.2 - (time.monotonic() - began_s)))
    return Seen("" if reply.status == 200 else f"the user got {reply.status}", 0.0)  # noqa: PLR2004


_ERROR = frozenset({502, 503, 504})
CALLERS: Mapping[tuple[str, str], tuple[Drive, str]] = {
    ("gateway", "leads"): (_route("GET", "/v1/leads", expected=_ERROR), "LeadsService/ListLeads"),
    ("gateway", "notify"): (_route("GET", "/v1/notifications", expected=_ERROR), "NotifyService/"),
    ("gateway", "health"): (_route("GET", "/v1/customers/gate", expected=frozenset({200})), "HealthScoringService/"),
    ("gateway", "files"): (_export, "FilesService/StartExport"),
    ("files", "leads"): (_claimed_export, "LeadsService/StreamDataset"),
    ("ops", "leads"): (_console, "EdgeService/ListEdges"),
}
"""Every caller: how a user makes it call, and the RPC by which attempts are counted."""
# Their providers fail together; the others lean on one that still answers.
_ALONE = frozenset({"leads", "notify"})
# The console asks every half second: each poll is a call of its own.
_POLLS = {"ops": 4}


async def rehearsed(
    world: World, candidate: Candidate, peers: Peers, messages: Messages, ways: tuple[Way, ...] = REHEARSED
) -> CheckResult:
    """Every edge of a running candidate, in every way; edges that lean on no other one side by side."""
    edges = [(provider, *how) for (caller, provider), how in CALLERS.items() if caller == candidate.process]
    found: list[Finding] = []
    # A job waits for rows as long as its edge says, ten seconds: no user's request hangs on it, so the gate does not either.
    tried = [way for way in ways if candidate.process != "files" or way.answer is not hanging]
    for way in tried:
        for alone in (True, False):
            together = [edge for edge in edges if (edge[0] in _ALONE) is alone]
            peers.calls.clear()
            peers.answers = {provider: way.answer for provider, *_ in together}
            if "leads" not in peers.answers:
                peers.answers[_ROWS] = _rows(messages)
            seen = await asyncio.gather(*(drive(world, candidate, peers, messages) for _, drive, _ in together))
            for (provider, _, rpc), each in zip(together, seen, strict=True):
                problem = _judged(candidate, peers, provider, rpc, way, each)
                if problem:
                    found.append(_finding(candidate.process, provider, way, problem))
    peers.answers = {}
    candidate.require_alive()
    return CheckResult(f"{candidate.process} beside failing providers", len(edges) * len(tried), tuple(found))


def _judged(candidate: Candidate, peers: Peers, provider: str, rpc: str, way: Way, seen: Seen) -> str:
    if seen.problem:
        return f"{seen.problem} after {seen.took_s:.1f} s"
    if seen.took_s > BUDGET_S + SLACK_S:
        return f"it took {seen.took_s:.1f} s"
    # A retry sends the same again; another request in flight is another call.
    same = Counter(call.request for call in peers.calls if call.provider == provider and rpc in call.method)
    attempts = max(same.values(), default=0)
    limit = _POLLS.get(candidate.process, 1 if way.once else ATTEMPTS_MAX)
    return f"{attempts} attempts were made" if attempts > limit else ""


def _finding(caller: str, provider: str, way: Way, problem: str) -> Finding:
    detail = f"{caller} met {way.name} from {provider}: {problem}"
    cure = f"Answer an error or the fallback within {BUDGET_S:g} s, after one attempt where refused."
    return Finding(Verdict.BREAKING, DIMENSION, caller, detail, cure)


def _rows(messages: Messages) -> Answer:
    """A dataset with one column and no row: what a fallback needs of the provider that still answers."""
    reply: Any = messages.new("breakwater.leads.v1.StreamDatasetResponse")
    reply.columns.add(name="name", title="name", type=1)
    return saying(reply.SerializeToString())
