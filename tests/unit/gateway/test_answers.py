"""What callers get: every answer is what OpenAPI says, nothing more and nothing less."""

import json

import pytest
from google.protobuf.json_format import ParseDict
from pydantic import ConfigDict, TypeAdapter

from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.health.v1 import health_pb2
from breakwater.leads.v1 import followups_pb2, leads_pb2, sla_pb2, story_pb2, tagging_pb2
from breakwater.notify.v1 import channels_pb2, notify_pb2, templates_pb2, workorders_pb2

LEAD = {
    "id": "0198",
    "customer_id": "0199",
    "name": "王芳",
    "company": "恒力",
    "phone": "13812345678",
    "source": "website",
    "stage": "new",
    "owner_id": "1001",
    "budget": "800000.00",
    "utm": {"source": "baidu"},
    "created_at": "2026-01-05T01:02:03.456Z",
    "claim_by": "2026-01-05T01:17:03Z",
}
ASSIGNMENT = {
    "owner_id": "1001",
    "rule_id": "p0",
    "rule_version": 3,
    "claim_by": "2026-01-05T01:17:03Z",
    "reason": "华东 + 制造业 + 预算>50万",
    "candidates": [
        {"person_id": "1001", "name": "李雷", "chosen": True},
        {"person_id": "1002", "name": "韩梅", "rejected_because": "休假"},
    ],
}
HEALTH = {
    "customer_id": "0199",
    "score": 71.5,
    "grade": "B",
    "signals": 4,
    "model_version": "1",
    "layers": [
        {
            "name": "base",
            "weight": 0.4,
            "score": 80,
            "reasons": [
                {"metric": "contract", "actual": "3", "target": "1", "points": 8, "points_max": 10, "text": "合同金额"}
            ],
        }
    ],
}
RULES = {"version": 3, "document": {"rules": [{"id": "a", "weight": 2, "share": 0.5}]}, "author": "1001"}
IMPORT = {"id": "0198", "state": "running", "dataset": "leads", "rows": 10, "rows_done": 5, "created": 4, "rejected": 1}
PERSON = {"id": "1001", "name": "李雷", "team_id": "sales", "regions": ["华东"], "active": True, "open_leads_max": 50}
NOTIFICATION = {
    "id": "0198",
    "recipient_id": "1001",
    "kind": "lead_assigned",
    "title": "新线索",
    "severity": "SEVERITY_WARNING",
    "attempts": [{"channel": "in_app", "state": "delivered", "at": "2026-01-05T01:02:03Z"}],
}
CHANNELS = {
    "person_id": "1001",
    "bindings": [{"channel": "wecom", "address": "13812345678", "robot": "default"}],
    "preferences": {"language": "zh", "muted": ["email"], "quiet_from": "22:00", "quiet_to": "08:00"},
}
WORDS = {"name": "digest", "language": "zh", "version": 2, "title": "$count 条", "body": "$lines", "names": ["count"]}
ORDER = {
    "id": "0198",
    "kind": "lead_overdue",
    "title": "超时",
    "assignee_id": "1001",
    "opened_at": "2026-01-05T01:02:03Z",
}
KEPT = {
    "id": "0198",
    "lead_id": "0197",
    "author_id": "1001",
    "goal": "确认型号",
    "next_action_due": "2026-12-01T01:00:00Z",
    "pain_tags": ["ERP替换"],
}
TAGGED = {
    "dictionary_version": 1,
    "tags": [{"id": "quote", "title": "报价", "count": 1}],
    "highlights": [{"tag": "quote", "end": 2, "text": "报价"}],
}
CLOCK = {
    "lead_id": "0198",
    "stage": 2,
    "paused_at": "2026-01-05T01:02:03Z",
    "pauses": [{"paused_at": "2026-01-05T01:02:03Z", "paused_by": "1001", "reason": "等待检测报告"}],
    "silent_since": "2026-01-05T01:02:03Z",
    "alarms": 1,
}
ANSWERS = {
    "CreateLead": (leads_pb2.CreateLeadResponse, {"lead": LEAD, "assignment": ASSIGNMENT, "duplicate_of": "0100"}),
    "GetLead": (leads_pb2.GetLeadResponse, {"lead": LEAD, "status": {"state": "working", "next_action": "报价"}}),
    "ListLeads": (leads_pb2.ListLeadsResponse, {"leads": [LEAD, LEAD], "next_cursor": "c"}),
    "ListAssignments": (leads_pb2.ListAssignmentsResponse, {"assignments": [ASSIGNMENT]}),
    "ClaimLead": (leads_pb2.ClaimLeadResponse, {"lead": LEAD}),
    "ChangeStage": (leads_pb2.ChangeStageResponse, {"lead": LEAD}),
    "AddFollowUp": (leads_pb2.AddFollowUpResponse, {"id": "0198"}),
    "AddQuickFollowUp": (followups_pb2.AddQuickFollowUpResponse, {"follow_up": KEPT}),
    "ListFollowUps": (followups_pb2.ListFollowUpsResponse, {"follow_ups": [KEPT, {"id": "1"}], "next_cursor": "c"}),
    "GetFollowUpQuality": (
        followups_pb2.GetFollowUpQualityResponse,
        {"all": {"records": 2, "share": 0.5}, "people": [{"id": "1", "vague_words": [{"word": "尽快", "records": 1}]}]},
    ),
    "GetPlaybook": (followups_pb2.GetPlaybookResponse, {"playbook": RULES}),
    "PutPlaybook": (followups_pb2.PutPlaybookResponse, {"playbook": RULES}),
    "AddTranscript": (
        tagging_pb2.AddTranscriptResponse,
        {"transcript": {"id": "0198", **TAGGED}, "stage": "qualified"},
    ),
    "GetTranscript": (tagging_pb2.GetTranscriptResponse, {"transcript": {"id": "0198", "text": "报价", **TAGGED}}),
    "PreviewTags": (tagging_pb2.PreviewTagsResponse, TAGGED),
    "GetDictionary": (tagging_pb2.GetDictionaryResponse, {"dictionary": RULES}),
    "PutDictionary": (tagging_pb2.PutDictionaryResponse, {"dictionary": RULES}),
    "GetSlaPolicies": (sla_pb2.GetSlaPoliciesResponse, {"policies": RULES}),
    "PutSlaPolicies": (sla_pb2.PutSlaPoliciesResponse, {"policies": RULES}),
    "GetLeadClock": (sla_pb2.GetLeadClockResponse, {"clock": {"lead_id": "0198"}}),
    "PauseLeadClock": (sla_pb2.PauseLeadClockResponse, {"clock": CLOCK}),
    "ResumeLeadClock": (sla_pb2.ResumeLeadClockResponse, {"clock": CLOCK}),
    "GetSlaReport": (
        sla_pb2.GetSlaReportResponse,
        {
            "all": {"leads": 2, "answered": 1, "response_mean_s": 60.5},
            "teams": [{"team_id": "sales", "leads": 2}],
            "checks": [{"id": 43, "met_by": 1, "of": 2, "target": 0.9}, {"id": 63, "target": 0.95}],
        },
    ),
    "GetStory": (
        story_pb2.GetStoryResponse,
        {
            "entries": [{"kind": "claimed", "id": "1", "sentence": "甲领取线索", "detail": {"reason": "x"}}],
            "next_cursor": "c",
        },
    ),
    "ListPeople": (leads_pb2.ListPeopleResponse, {"people": [PERSON]}),
    "GetCustomer": (
        leads_pb2.GetCustomerResponse,
        {"customer": {"id": "0199", "name": "王芳", "leads": [LEAD], "pain_tags": [{"tag": "ERP替换"}]}},
    ),
    "GetRules": (leads_pb2.GetRulesResponse, {"rules": RULES}),
    "PutRules": (leads_pb2.PutRulesResponse, {"rules": RULES}),
    "RollBackRules": (leads_pb2.RollBackRulesResponse, {"rules": RULES}),
    "DryRunRules": (
        leads_pb2.DryRunRulesResponse,
        {"leads": 2, "same": 1, "changed": 1, "differences": [{"lead_id": "1", "owner_then": "2", "rule_id": "a"}]},
    ),
    "GetImport": (leads_pb2.GetImportResponse, {"import": IMPORT}),
    "ListRejections": (
        leads_pb2.ListRejectionsResponse,
        {"rejections": [{"row": 7, "field": "email", "reason": "is no address", "raw": "a,b"}]},
    ),
    "GetHealth": (health_pb2.GetHealthResponse, {"health": HEALTH}),
    "RecordSignal": (
        health_pb2.RecordSignalResponse,
        {"signal": {"id": "1", "customer_id": "0199", "kind": "nps", "value": "62"}, "health": HEALTH},
    ),
    "ListNotifications": (notify_pb2.ListNotificationsResponse, {"notifications": [NOTIFICATION]}),
    "MarkRead": (notify_pb2.MarkReadResponse, {"notification": NOTIFICATION}),
    "ResendNotification": (notify_pb2.ResendNotificationResponse, {"notification": NOTIFICATION}),
    "GetChannels": (channels_pb2.GetChannelsResponse, {"channels": CHANNELS}),
    "BindChannel": (channels_pb2.BindChannelResponse, {"channels": CHANNELS}),
    "UnbindChannel": (channels_pb2.UnbindChannelResponse, {"channels": CHANNELS}),
    "SetPreferences": (channels_pb2.SetPreferencesResponse, {"channels": CHANNELS}),
    "ListFindings": (channels_pb2.ListFindingsResponse, {"findings": [{"kind": "unbound", "subject": "1001"}]}),
    "ListTemplates": (templates_pb2.ListTemplatesResponse, {"templates": [WORDS]}),
    "ListTemplateVersions": (templates_pb2.ListTemplateVersionsResponse, {"templates": [WORDS]}),
    "PreviewTemplate": (templates_pb2.PreviewTemplateResponse, {"title": "超时", "body": "请处理"}),
    "ChangeTemplate": (templates_pb2.ChangeTemplateResponse, {"template": WORDS}),
    "ListWorkOrders": (workorders_pb2.ListWorkOrdersResponse, {"work_orders": [ORDER]}),
    "CloseWorkOrder": (workorders_pb2.CloseWorkOrderResponse, {"work_order": ORDER}),
}
FOLLOW_UP = {
    "goal": "确认型号",
    "customer_words": "太贵",
    "next_action": "报价",
    "next_action_due": "2026-12-01T09:00:00+08:00",
}
REQUESTS = [
    ("POST", "/v1/leads", {"name": "王芳", "source": "website", "budget": 800000.5, "utm": {"source": "baidu"}}, 201),
    ("GET", "/v1/leads", None, 200),
    ("GET", "/v1/leads/0198", None, 200),
    ("GET", "/v1/leads/0198/assignments", None, 200),
    ("POST", "/v1/leads/0198/claim", None, 200),
    ("POST", "/v1/leads/0198/stage", {"stage": "qualified"}, 200),
    ("POST", "/v1/leads/0198/follow-ups", FOLLOW_UP, 201),
    ("GET", "/v1/leads/0198/follow-ups", None, 200),
    ("POST", "/v1/leads/0198/quick-follow-ups", {"code": "quote-sent"}, 201),
    ("GET", "/v1/customers/0199/follow-ups", None, 200),
    ("POST", "/v1/leads/0198/transcripts", {"kind": "chat", "text": "报价"}, 201),
    ("GET", "/v1/leads/0198/transcripts/0199", None, 200),
    ("POST", "/v1/tags/preview", {"text": "报价"}, 200),
    ("GET", "/v1/tags/dictionary", None, 200),
    ("PUT", "/v1/tags/dictionary", {"document": {"tags": []}}, 200),
    ("GET", "/v1/customers/0199/story", None, 200),
    ("GET", "/v1/follow-ups/quality", None, 200),
    ("GET", "/v1/follow-ups/playbook", None, 200),
    ("PUT", "/v1/follow-ups/playbook", {"document": {"actions": []}}, 200),
    ("GET", "/v1/sla/policies", None, 200),
    ("PUT", "/v1/sla/policies", {"document": {"policies": []}}, 200),
    ("GET", "/v1/sla/report", None, 200),
    ("GET", "/v1/leads/0198/sla", None, 200),
    ("POST", "/v1/leads/0198/sla/pause", {"reason": "等待检测报告"}, 200),
    ("POST", "/v1/leads/0198/sla/resume", None, 200),
    ("GET", "/v1/people", None, 200),
    ("GET", "/v1/customers/0199", None, 200),
    ("GET", "/v1/customers/0199/health", None, 200),
    ("POST", "/v1/customers/0199/signals", {"kind": "nps", "value": "62"}, 201),
    ("GET", "/v1/routing/rules", None, 200),
    ("PUT", "/v1/routing/rules", {"document": {"rules": []}}, 200),
    ("POST", "/v1/routing/dry-runs", {"document": {"rules": []}}, 200),
    ("POST", "/v1/routing/rollbacks", {"version": 2}, 200),
    ("GET", "/v1/imports/0198", None, 200),
    ("GET", "/v1/imports/0198/rejections", None, 200),
    ("GET", "/v1/notifications", None, 200),
    ("POST", "/v1/notifications/0198/read", None, 200),
    ("POST", "/v1/notifications/0198/resend", None, 200),
    ("GET", "/v1/people/1001/channels", None, 200),
    ("PUT", "/v1/people/1001/channels/wecom", {"address": "13812345678"}, 200),
    ("DELETE", "/v1/people/1001/channels/wecom", None, 200),
    ("PUT", "/v1/people/1001/notification-preferences", {"muted": ["email"], "quiet_from": "22:00"}, 200),
    ("GET", "/v1/notification-findings", None, 200),
    ("GET", "/v1/notification-templates", None, 200),
    ("GET", "/v1/notification-templates/digest/zh/versions", None, 200),
    ("POST", "/v1/notification-templates/digest/zh/preview", {"title": "$count"}, 200),
    ("PUT", "/v1/notification-templates/digest/zh", {"title": "$count", "body": "$lines"}, 200),
    ("GET", "/v1/work-orders", None, 200),
    ("POST", "/v1/work-orders/0198/close", {"resolution": "已处理"}, 200),
    ("POST", "/v1/exports", {"dataset": "leads", "format": "xlsx"}, 202),
    ("GET", "/v1/exports/{the one just asked for}", None, 200),
    ("GET", "/healthz", None, 200),
    ("GET", "/readyz", None, 200),
]


@pytest.fixture
def answering(gateway):
    """Every service answers."""
    for rpc, (kind, content) in ANSWERS.items():
        channel = {"health": gateway.health, "notify": gateway.notify}.get(kind.__module__.split(".")[1], gateway.leads)
        channel.answers[rpc] = ParseDict(content, kind())
    return gateway


def view_of(gateway, method, path):
    """The shape OpenAPI promises for a route, closed against extra keys."""
    for route in gateway.api.routes:
        if route.method == method and route.path_regex.fullmatch(path):
            return TypeAdapter(_closed(route.response_model))
    raise AssertionError(f"no route {method} {path}")


def _closed(view):
    """The TypedDict, and those inside, refusing keys that they do not name."""
    for hint in list(getattr(view, "__annotations__", {}).values()):
        for inner in (hint, *getattr(hint, "__args__", ())):
            if hasattr(inner, "__total__"):
                _closed(inner)
    view.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)
    return view


async def test_every_answer_is_what_openapi_says(answering):
    """Names, types and nothing unnamed, for each route."""
    location = ""
    for method, named, body, status in REQUESTS:
        path = location if "{" in named else named
        reply = await answering.ask(method, path, json=body) if body is not None else await answering.ask(method, path)
        assert reply.status_code == status, f"{method} {path}: {reply.text}"
        view_of(answering, method, path).validate_json(reply.content)
        location = reply.headers.get("location", location)
        assert reply.headers["x-content-type-options"] == "nosniff"


async def test_a_created_lead_says_where_it_went_and_why(answering):
    """The answer of api.md, Location included."""
    reply = await answering.ask("POST", "/v1/leads", json={"name": " 王芳 ", "source": "website", "budget": "800000.5"})
    assert reply.json() == {
        "id": "0198",
        "customer_id": "0199",
        "stage": "new",
        "assignment": {
            "owner_id": "1001",
            "rule_id": "p0",
            "rule_version": 3,
            "claim_by": "2026-01-05T01:17:03.000Z",
            "reason": "华东 + 制造业 + 预算>50万",
        },
        "duplicate_of": "0100",
    }
    assert reply.headers["location"] == "/v1/leads/0198"
    (request,) = answering.leads.requests("CreateLead")
    assert (request.name, request.budget, request.HasField("utm")) == ("王芳", "800000.5", False)


async def test_a_lead_shows_null_for_what_is_not_known(answering):
    """Times in UTC with milliseconds, absent values as null."""
    lead = (await answering.ask("GET", "/v1/leads/0198")).json()
    assert (lead["created_at"], lead["claimed_at"], lead["email"]) == ("2026-01-05T01:02:03.456Z", None, None)
    assert (lead["utm"], lead["budget"]) == ({"source": "baidu"}, "800000.00")


@pytest.mark.capability(40)
async def test_rules_travel_as_they_were_written(answering):
    """Whole numbers stay whole."""
    rules = (await answering.ask("GET", "/v1/routing/rules")).json()
    assert json.dumps(rules["document"], sort_keys=True) == json.dumps(RULES["document"], sort_keys=True)


async def test_rules_too_deep_to_be_rules_are_refused(answering):
    """Depth is bounded before it reaches a parser that recurses."""
    document = {}
    for _ in range(60):
        document = {"a": document}
    reply = await answering.ask("PUT", "/v1/routing/rules", json={"document": document})
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, "document")


@pytest.mark.capability(37)
async def test_a_customer_is_shown_without_its_score_while_health_is_out(answering):
    """Degraded openly: header, body field, and everything that leads knows."""
    answering.health.answers["GetHealth"] = UnavailableError("out", dependency="health")
    reply = await answering.ask("GET", "/v1/customers/0199")
    body = reply.json()
    assert (reply.status_code, reply.headers["degraded"]) == (200, "health")
    assert body["degraded"] == {"dependency": "health", "fallback": "omitted", "missing": ["health"]}
    assert (body["health"], len(body["leads"])) == (None, 1)


async def test_a_customer_nobody_scored_yet_is_not_degraded(answering):
    """Nothing known is an answer, not a failure."""
    answering.health.answers["GetHealth"] = NotFoundError("no score")
    reply = await answering.ask("GET", "/v1/customers/0199")
    assert "degraded" not in reply.headers
    assert reply.json()["health"] is None


@pytest.mark.parametrize(("method", "path"), [("GET", "health"), ("POST", "signals")])
async def test_the_health_of_anothers_customer_is_not_found(answering, method, path):
    """health does not know whose customer it is; leads is asked first, and nothing is stored."""
    answering.leads.answers["GetCustomer"] = NotFoundError("there is no such customer")
    reply = await answering.ask(
        method,
        f"/v1/customers/0199/{path}",
        headers=answering.bearer("sales", scope="own"),
        **({"json": {"kind": "nps"}} if method == "POST" else {}),
    )
    assert reply.status_code == 404
    assert answering.health.asked == []


@pytest.mark.parametrize("path", ["/v1/leads", "/v1/leads/0198/claim", "/v1/customers/0199/signals"])
async def test_a_key_reaches_the_owning_service_with_what_was_asked(answering, path):
    """The same request has the same HMAC, another body another one, and a replay is marked."""
    body = {"/v1/leads": {"name": "a", "source": "b"}, "/v1/customers/0199/signals": {"kind": "nps"}}.get(path)
    other = body and body | {"name" if "name" in body else "kind": "other"}
    for content, key in [(body, "k1"), (body, "k1"), (other, "k1"), (body, "")]:
        headers = {"idempotency-key": key} if key else {}
        await answering.ask("POST", path, json=content, headers=headers)
    asked = [
        request for name, request in answering.leads.asked + answering.health.asked if hasattr(request, "idempotency")
    ]
    hmacs = [request.idempotency.body_hmac for request in asked]
    assert hmacs[0] == hmacs[1] != b""
    assert (hmacs[2] != hmacs[0]) == (body is not None)
    assert (asked[3].idempotency.key, hmacs[3]) == ("", b"")


async def test_a_replay_is_marked(answering):
    """The header tells the caller that nothing new was made."""
    answering.leads.answers["CreateLead"].replayed = True
    reply = await answering.ask(
        "POST", "/v1/leads", json={"name": "a", "source": "b"}, headers={"idempotency-key": "k"}
    )
    assert reply.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("key", ["", "with space", "中", "x" * 201, "a\tb"])
async def test_a_key_outside_of_its_limits_is_422(answering, key):
    """1 to 200 visible ASCII characters."""
    reply = await answering.ask(
        "POST", "/v1/leads", json={"name": "a", "source": "b"}, headers={"idempotency-key": key.encode()}
    )
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


@pytest.mark.capability(119)
async def test_a_mobile_number_that_is_bound_is_shown_without_its_middle(answering):
    """And the words of a search reach notify as they were asked."""
    reply = await answering.ask("GET", "/v1/people/1001/channels")
    assert reply.json()["bindings"][0]["address"] == "138****5678"
    query = {"text": "海天", "state": "ended", "subject": "lead:0198", "since": "2026-01-05T09:00:00+08:00"}
    assert (await answering.ask("GET", "/v1/notifications", params=query)).status_code == 200
    [asked] = answering.notify.requests("ListNotifications")
    assert (asked.text, asked.state, asked.subject) == ("海天", "ended", "lead:0198")
    assert asked.since.ToJsonString() == "2026-01-05T01:00:00Z"
    assert not asked.HasField("until")
