"""Every failure is a problem that says what to do next, and none says too much."""

import json
import re
from pathlib import Path

import pytest

from breakwater.chassis import errors
from breakwater.chassis.errors import DeadlineExceededError, DependencyAuthError, FieldError, NotFoundError
from breakwater.chassis.next_steps import NEXT_STEPS

LEAD = {"name": "王芳", "source": "website"}


def assert_problem(reply, status, code):
    """The shape that api.md promises for every error."""
    body = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.status_code, body["status"], body["code"]) == (status, status, code), body
    assert {"type", "title", "detail", "request_id"} <= set(body)
    assert body["request_id"] == reply.headers["x-request-id"]
    assert body["type"] == f"/docs#problem-{code}"
    return body


async def test_an_unknown_route_is_a_problem(gateway):
    """404 for what is not there, also without a token."""
    assert_problem(await gateway.client.get("/v1/nothing"), 404, "not_found")
    assert_problem(await gateway.client.get("/v1/leads/"), 404, "not_found")


async def test_a_wrong_method_names_the_right_ones(gateway):
    """405 with Allow."""
    reply = await gateway.client.delete("/v1/leads")
    assert_problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "GET, POST"


async def test_a_wrong_content_type_is_415(gateway):
    """A form is no JSON."""
    reply = await gateway.ask("POST", "/v1/leads", data={"name": "x"})
    assert_problem(reply, 415, "unsupported_media_type")
    reply = await gateway.ask("POST", "/v1/imports", json={})
    assert_problem(reply, 415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'{"name": "a"} x', b"[" * 3000])
async def test_malformed_json_is_a_problem(gateway, body):
    """Cut, empty, not UTF-8, with something behind its end, or nested without end."""
    reply = await gateway.ask("POST", "/v1/leads", content=body, headers={"content-type": "application/json"})
    assert_problem(reply, 422, "malformed_body")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"colour": "red"}, "colour"),
        ({"budget": "lots"}, "budget"),
        ({"budget": -1}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"budget": 1e30}, "budget"),
        ({"email": "not an address"}, "email"),
        ({"utm": {"source": 1}}, "utm.source"),
        ({"utm": ["a"]}, "utm"),
        ({"city_code": "' OR 1=1 --"}, "city_code"),
        ({"phone": ["138"]}, "phone"),
        ({"source": None}, "source"),
    ],
)
async def test_bad_input_names_the_field(gateway, change, field):
    """Wrong types, unknown fields, empty and overlong texts: 422, the dotted field, and nothing is asked of leads."""
    content = json.dumps(LEAD | change).encode()
    reply = await gateway.ask("POST", "/v1/leads", content=content, headers={"content-type": "application/json"})
    body = assert_problem(reply, 422, "invalid_request")
    assert field in [entry["field"] for entry in body["errors"]]
    assert gateway.leads.asked == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "colour=red", "limit=1&limit=2", "stage=flying"])
async def test_a_bad_query_is_refused(gateway, query):
    """Query parameters are checked like bodies."""
    assert_problem(await gateway.ask("GET", f"/v1/leads?{query}"), 422, "invalid_request")


async def test_a_query_on_a_route_that_has_none_is_refused(gateway):
    """Unknown parameters are not passed over in silence anywhere."""
    assert_problem(await gateway.ask("GET", "/v1/leads/0198?verbose=1"), 422, "invalid_request")


@pytest.mark.parametrize("lead_id", ["..%2f..%2fetc", "a%00b", "'", "x" * 65, "%E7%BA%BF"])
async def test_an_id_that_cannot_be_one_is_not_found(gateway, lead_id):
    """No such record, and no service is bothered."""
    assert_problem(await gateway.ask("GET", f"/v1/leads/{lead_id}"), 404, "not_found")
    assert gateway.leads.asked == []


async def test_what_a_service_refuses_arrives_as_it_was_said(gateway):
    """Code, fields and status of the owning service reach the caller."""
    gateway.leads.answers["ChangeStage"] = errors.InvalidRequestError(
        "没有签字的客户需求确认书", code="gate_closed", errors=(FieldError("stage", "needs the signed document"),)
    )
    body = assert_problem(
        await gateway.ask("POST", "/v1/leads/1/stage", json={"stage": "qualified"}), 422, "gate_closed"
    )
    assert body["detail"] == "没有签字的客户需求确认书"
    assert body["errors"] == [{"field": "stage", "reason": "needs the signed document"}]
    gateway.leads.answers["GetLead"] = NotFoundError("there is no such lead")
    assert_problem(await gateway.ask("GET", "/v1/leads/1"), 404, "not_found")


async def test_a_dependency_that_is_out_is_named_with_the_time_to_wait(gateway):
    """503 with Retry-After in the header and in the body."""
    gateway.leads.answers["GetLead"] = errors.UnavailableError("out", dependency="leads", retry_after_s=1.25)
    reply = await gateway.ask("GET", "/v1/leads/1")
    body = assert_problem(reply, 503, "unavailable")
    assert (body["dependency"], body["retry_after_s"], reply.headers["retry-after"]) == ("leads", 1.25, "2")


@pytest.mark.parametrize("error", [DeadlineExceededError("late"), DependencyAuthError("refused")])
async def test_every_503_says_when_to_come_back(gateway, error):
    """Also where the failing part did not say."""
    gateway.leads.answers["GetLead"] = error
    reply = await gateway.ask("GET", "/v1/leads/1")
    assert_problem(reply, 503, error.code)
    assert reply.headers["retry-after"] == "1"


async def test_an_unexpected_failure_tells_nothing(gateway):
    """500 without a word of the exception; the request id finds it in the log."""
    gateway.leads.answers["GetLead"] = ValueError("password=hunter2 of 张三")
    reply = await gateway.ask("GET", "/v1/leads/1")
    assert_problem(reply, 500, "internal")
    assert "hunter2" not in reply.text
    assert "ValueError" not in reply.text


async def test_every_code_of_the_gateway_is_explained():
    """`type` resolves to a next step for each code that this service or the chassis makes."""
    sources = [path.read_text() for path in Path("services/gateway").rglob("*.py") if "ops" not in path.parts]
    codes = set(re.findall(r'(?:code|default_code)\s*=\s*"([a-z_]+)"', "\n".join(sources)))
    codes |= {
        each.default_code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.BreakwaterError)
    }
    assert codes - set(NEXT_STEPS) == set()
