"""Every limit of the HTTP surface: the largest passes, the largest plus one does not, and slowness is bounded."""

import asyncio
import json

import pytest

from breakwater.chassis.errors import NotFoundError
from breakwater.leads.v1 import leads_pb2
from breakwater.resilience import current_deadline
from breakwater.resilience.shedding import Priority, current_priority
from services.gateway.http.access import MATRIX
from tests.unit.gateway.conftest import BODY_MAX
from tests.unit.gateway.test_problems import assert_problem

JSON = {"content-type": "application/json"}


def body_of(size_bytes):
    """A valid lead of exactly that many bytes, padded where JSON allows it."""
    core = json.dumps({"name": "王芳", "source": "website"}).encode()
    return core + b" " * (size_bytes - len(core))


def created(_request):
    return leads_pb2.CreateLeadResponse(lead=leads_pb2.Lead(id="1", customer_id="2", stage="new"))


async def in_pieces(body):
    """The same without Content-Length."""
    for start in range(0, len(body), 1000):
        yield body[start : start + 1000]


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_largest_body_passes_and_one_byte_more_is_413(gateway, chunked):
    """Announced or not, the limit is the same."""
    gateway.leads.answers["CreateLead"] = created
    wrap = in_pieces if chunked else bytes
    reply = await gateway.ask("POST", "/v1/leads", content=wrap(body_of(BODY_MAX)), headers=JSON)
    assert reply.status_code == 201
    reply = await gateway.ask("POST", "/v1/leads", content=wrap(body_of(BODY_MAX + 1)), headers=JSON)
    assert str(BODY_MAX) in assert_problem(reply, 413, "payload_too_large")["detail"]
    assert len(gateway.leads.asked) == 1


async def test_rules_may_be_larger_than_other_bodies(gateway):
    """Ten thousand rules pass up to a limit of their own; one byte more is 413."""
    largest = MATRIX["PUT", "/v1/routing/rules"].body_size_bytes_max
    gateway.leads.answers["PutRules"] = lambda request: leads_pb2.PutRulesResponse(
        rules=leads_pb2.RuleSet(version=2, document=request.document)
    )
    core = json.dumps({"document": {"rules": []}}).encode()
    body = core + b" " * (largest - len(core))
    reply = await gateway.ask("PUT", "/v1/routing/rules", content=body, headers=JSON)
    assert reply.status_code == 200
    reply = await gateway.ask("PUT", "/v1/routing/rules", content=body + b" ", headers=JSON)
    assert str(largest) in assert_problem(reply, 413, "payload_too_large")["detail"]


async def test_a_body_that_never_ends_is_408_at_the_deadline(gateway):
    """A slow client holds a request no longer than it may last."""

    async def stalled():
        yield b'{"name": '
        await asyncio.Event().wait()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/leads",
        "query_string": b"",
        "headers": [
            (b"authorization", gateway.bearer()["authorization"].encode()),
            (b"content-type", b"application/json"),
            (b"x-request-timeout", b"0.05"),
        ],
    }
    pieces, sent = stalled(), []

    async def receive():
        return {"type": "http.request", "body": await anext(pieces), "more_body": True}

    async def send(message):
        sent.append(message)

    await gateway.edge(scope, receive, send)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["code"] == "body_timeout"


async def test_a_client_that_went_away_is_not_answered(gateway):
    """Nothing is sent to nobody, and nothing is logged as a defect."""
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [
        (b"authorization", gateway.bearer()["authorization"].encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {"type": "http", "method": "POST", "path": "/v1/leads", "query_string": b"", "headers": headers}
    await gateway.edge(scope, receive, send)
    assert sent == []


async def test_a_service_that_never_answers_is_503_at_the_deadline(gateway):
    """Nothing hangs, whatever a part forgets."""

    async def never(_request):
        await asyncio.Event().wait()

    gateway.leads.answers["GetLead"] = never
    reply = await gateway.ask("GET", "/v1/leads/1", headers={"x-request-timeout": "0.05"})
    assert_problem(reply, 503, "deadline_exceeded")


@pytest.mark.parametrize(("asked", "given"), [("2.5", 2.5), ("9999", 10.0), (None, 10.0)])
async def test_the_deadline_is_the_one_asked_for_capped_by_the_route(gateway, asked, given):
    """It travels on as the deadline of everything the request causes."""
    seen = []

    def look(_request):
        seen.append(current_deadline.get().remaining_s())
        return leads_pb2.GetLeadResponse()

    gateway.leads.answers["GetLead"] = look
    await gateway.ask("GET", "/v1/leads/1", headers={"x-request-timeout": asked} if asked else {})
    assert seen == [pytest.approx(given)]


@pytest.mark.parametrize("asked", ["0", "-1", "soon", "nan", ""])
async def test_a_deadline_that_is_no_time_is_422(gateway, asked):
    """A caller that means something else hears of it."""
    reply = await gateway.ask("GET", "/v1/leads/1", headers={"x-request-timeout": asked})
    assert assert_problem(reply, 422, "invalid_request")["errors"][0]["field"] == "X-Request-Timeout"


async def test_more_requests_than_the_replica_takes_are_503_at_once(make_gateway, eventually):
    """The one too many waits for nobody; the others are answered."""
    gateway = await make_gateway(concurrency_max=2)
    hold = asyncio.Event()

    async def wait(_request):
        await hold.wait()
        return leads_pb2.GetLeadResponse()

    gateway.leads.answers["GetLead"] = wait
    slow = [asyncio.create_task(gateway.ask("GET", "/v1/leads/1")) for _ in range(2)]
    await eventually(lambda: len(gateway.leads.asked) == 2)
    reply = await gateway.ask("GET", "/v1/leads/1")
    assert_problem(reply, 503, "overloaded")
    assert reply.headers["retry-after"] == "1"
    hold.set()
    assert [answer.status_code for answer in await asyncio.gather(*slow)] == [200, 200]


async def test_a_caller_past_its_rate_is_429_and_the_others_are_not(make_gateway):
    """The standard headers say what is left and when all of it is back."""
    gateway = await make_gateway(quota=2)
    gateway.leads.answers["GetLead"] = leads_pb2.GetLeadResponse()
    first = await gateway.ask("GET", "/v1/leads/1")
    assert first.headers["ratelimit-policy"] == '"default";q=2;w=1'
    assert first.headers["ratelimit"] == '"default";r=1;t=1'
    await gateway.ask("GET", "/v1/leads/1")
    reply = await gateway.ask("GET", "/v1/leads/1")
    assert_problem(reply, 429, "rate_limited")
    assert (reply.headers["retry-after"], reply.headers["ratelimit"]) == ("1", '"default";r=0;t=1')
    other = await gateway.ask("GET", "/v1/leads/1", headers=gateway.bearer(sub="another"))
    assert other.status_code == 200
    await gateway.clock.advance(1.0)
    assert (await gateway.ask("GET", "/v1/leads/1")).status_code == 200


@pytest.mark.parametrize("header", ["authorization", "idempotency-key", "content-type", "x-request-timeout"])
async def test_a_header_that_decides_is_refused_when_it_comes_twice(gateway, header):
    """Two parties must never read two different requests out of one."""
    reply = await gateway.client.get("/v1/leads", headers=[(header, "a"), (header, "b")])
    assert assert_problem(reply, 422, "invalid_request")["errors"] == [{"field": header, "reason": "must be sent once"}]


async def test_a_full_replica_still_answers_its_probes(make_gateway, eventually):
    """A supervisor must not take a busy process for a dead one; unknown paths cost no slot either."""
    gateway = await make_gateway(concurrency_max=1)
    hold = asyncio.Event()

    async def wait(_request):
        await hold.wait()
        return leads_pb2.GetLeadResponse()

    gateway.leads.answers["GetLead"] = wait
    slow = asyncio.create_task(gateway.ask("GET", "/v1/leads/1"))
    await eventually(lambda: gateway.leads.asked)
    assert_problem(await gateway.ask("GET", "/v1/leads/1"), 503, "overloaded")
    for probe in ("/healthz", "/readyz"):
        assert (await gateway.client.get(probe)).status_code == 200
    assert (await gateway.client.get("/v1/nothing")).status_code == 404
    hold.set()
    assert (await slow).status_code == 200
    assert (await gateway.ask("GET", "/v1/leads/1", headers={"x-request-timeout": "nan"})).status_code == 422
    gateway.leads.answers["GetLead"] = leads_pb2.GetLeadResponse()
    assert (await gateway.ask("GET", "/v1/leads/1")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "priority"),
    [
        ("GET", "/v1/leads/1", None, Priority.INTERACTIVE),
        ("GET", "/v1/imports/1/rejections", None, Priority.BATCH),
    ],
)
async def test_what_a_request_causes_is_as_urgent_as_its_route(gateway, method, path, body, priority):
    """Imports and exports give way to people who wait, all the way down."""
    seen = []

    def look(_request):
        seen.append(current_priority.get())
        raise NotFoundError("no such record")

    gateway.leads.answers["GetLead"] = look
    gateway.leads.answers["ListRejections"] = look
    await gateway.ask(method, path, json=body)
    assert seen == [priority]


_NO_MOMENT = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"
_FOLLOW_UP = {"goal": "确认", "customer_words": "贵", "next_action": "报价", "objection": "价格", "pain_tags": ["无"]}
_LEAVE = {"reason": "年假", "starts_at": "2026-12-01T00:00:00Z", "ends_at": "2026-12-02T00:00:00Z"}


@pytest.mark.parametrize("moment", _NO_MOMENT)
@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("/v1/leads/1/follow-ups", "next_action_due", _FOLLOW_UP),
        ("/v1/leads/1/transcripts", "occurred_at", {"kind": "call", "text": "报价"}),
        ("/v1/customers/1/signals", "occurred_at", {"kind": "login"}),
        ("/v1/people/1/leave", "starts_at", _LEAVE),
        ("/v1/people/1/leave", "ends_at", _LEAVE),
    ],
)
async def test_a_moment_utc_has_no_date_for_is_refused_by_name(gateway, path, field, body, moment):
    """In a body: 422 with the field, and nothing behind is asked."""
    reply = await gateway.ask("POST", path, json=body | {field: moment})
    assert [error["field"] for error in assert_problem(reply, 422, "invalid_request")["errors"]] == [field]


@pytest.mark.parametrize("moment", [*_NO_MOMENT, "0001-01-01"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/sla/report?from=",
        "/v1/sla/report?to=",
        "/v1/follow-ups/quality?from=",
        "/v1/growth/completeness?since=",
        "/v1/notifications?since=",
    ],
)
async def test_a_period_utc_has_no_date_for_is_refused(gateway, path, moment):
    """In a query, also as a day that begins before there are dates."""
    reply = await gateway.ask("GET", path + moment.replace("+", "%2B"))
    assert_problem(reply, 422, "invalid_request")
