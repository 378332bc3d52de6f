"""Routing rules as data (40): `/v1/routing`."""

import asyncio
import re
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from breakwater.chassis.errors import NotFoundError
from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import leads_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Input
from services.gateway.http.structs import document_of, struct_of

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class NewRules(Input):
    """Rules to put in force. `expected_version` is the version the author has seen; another one in force is 409."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "document": {"rules": [{"id": "rest", "target": {"kind": "duty_desk", "person_id": "duty-desk"}}]},
                    "expected_version": 1,
                }
            ]
        }
    )

    document: dict[str, Any]
    expected_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class DryRun(Input):
    """Rules to try on past leads, newest first."""

    document: dict[str, Any]
    leads_max: Annotated[int, Field(ge=1, le=10_000)] = 1_000


class RollBack(Input):
    """The version to return to."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class RulesView(TypedDict):
    """A version of the rules."""

    version: int
    document: dict[str, Any]
    author: str
    created_at: str | None


class DifferenceView(TypedDict):
    """One lead that would have gone elsewhere."""

    lead_id: str
    owner_today: str | None
    owner_then: str | None
    rule_id: str
    score_today: str | None
    score_then: str | None


class RuleCountView(TypedDict):
    """How many leads a rule decides."""

    rule_id: str
    leads: int


class ScoreTrialView(TypedDict):
    """How a formula judges past leads whose end is known.

    `pairs_right`: of a converted and a lost lead, how often the converted one has the higher score, in percent.
    """

    leads: int
    mean: str
    converted: int
    lost: int
    pairs_right: str | None


class DryRunView(TypedDict):
    """What the rules would have changed; at most 100 differences, and the 100 rules that decide most."""

    leads: int
    same: int
    changed: int
    differences: list[DifferenceView]
    rules: list[RuleCountView]
    score_today: ScoreTrialView | None
    score_then: ScoreTrialView | None


class FiguresView(TypedDict):
    """What the ledger said of a person; credit and owed in hundred-millionths of a lead."""

    person_id: str
    open_leads: int
    credit: int
    owed: int


class ReplayView(TypedDict):
    """A past decision beside the same made again from what it stood on; both as JSON text, to be compared as they are."""

    equal: bool
    decided: str
    again: str
    rule_version: int
    organisation: str
    facts: dict[str, str]
    figures: list[FiguresView]
    customer_owner_id: str | None


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of routing rules."""

    @api.route("GET", "/v1/routing/rules", RulesView, tag="routing")
    async def get_rules(call: Call) -> Answer:
        """The rules in force."""
        request = leads_pb2.GetRulesRequest(actor=actor_to(call.actor))
        reply = await leads.channel.unary(leads.routing.GetRules, request, retryable=True)
        return answer(await asyncio.to_thread(_rules_view, reply.rules))

    @api.route("GET", "/v1/routing/rules/{version}", RulesView, tag="routing")
    async def get_rules_version(call: Call, version: str) -> Answer:
        """The rules of an earlier version, to look at or to roll back to."""
        if not _VERSION.fullmatch(version):
            raise NotFoundError("there is no such version of the rules")
        request = leads_pb2.GetRulesRequest(actor=actor_to(call.actor), version=int(version))
        reply = await leads.channel.unary(leads.routing.GetRules, request, retryable=True)
        return answer(await asyncio.to_thread(_rules_view, reply.rules))

    @api.route("PUT", "/v1/routing/rules", RulesView, tag="routing")
    async def put_rules(call: Call, body: NewRules) -> Answer:
        """Validates the rules and puts them in force as a new version."""
        request = leads_pb2.PutRulesRequest(
            actor=actor_to(call.actor),
            document=await asyncio.to_thread(struct_of, body.document),
            expected_version=body.expected_version,
        )
        reply = await leads.channel.unary(leads.routing.PutRules, request)
        return answer(await asyncio.to_thread(_rules_view, reply.rules))

    @api.route("POST", "/v1/routing/dry-runs", DryRunView, tag="routing")
    async def dry_run_rules(call: Call, body: DryRun) -> Answer:
        """What the rules would have decided on past leads, beside what was decided."""
        request = leads_pb2.DryRunRulesRequest(
            actor=actor_to(call.actor),
            document=await asyncio.to_thread(struct_of, body.document),
            leads_max=body.leads_max,
        )
        reply = await leads.channel.unary(leads.routing.DryRunRules, request, retryable=True)
        view: DryRunView = {
            "leads": reply.leads,
            "same": reply.same,
            "changed": reply.changed,
            "differences": [
                {
                    "lead_id": difference.lead_id,
                    "owner_today": difference.owner_today or None,
                    "owner_then": difference.owner_then or None,
                    "rule_id": difference.rule_id,
                    "score_today": difference.score_today or None,
                    "score_then": difference.score_then or None,
                }
                for difference in reply.differences
            ],
            "rules": [{"rule_id": each.rule_id, "leads": each.leads} for each in reply.rules],
            "score_today": _trial_view(reply.score_today) if reply.HasField("score_today") else None,
            "score_then": _trial_view(reply.score_then) if reply.HasField("score_then") else None,
        }
        return answer(view)

    @api.route("POST", "/v1/routing/rollbacks", RulesView, tag="routing")
    async def roll_back_rules(call: Call, body: RollBack) -> Answer:
        """Puts an earlier version in force again, as a new version."""
        request = leads_pb2.RollBackRulesRequest(actor=actor_to(call.actor), version=body.version)
        reply = await leads.channel.unary(leads.routing.RollBackRules, request)
        return answer(await asyncio.to_thread(_rules_view, reply.rules))

    @api.route("GET", "/v1/leads/{lead_id}/assignments/{assignment_id}/replay", ReplayView, tag="routing")
    async def replay_assignment(call: Call, lead_id: str, assignment_id: str) -> Answer:
        """Makes a past decision again from what it stood on, and says whether it is the same byte for byte (8)."""
        request = leads_pb2.ReplayAssignmentRequest(
            actor=actor_to(call.actor), lead_id=lead_id, assignment_id=assignment_id
        )
        reply = await leads.channel.unary(leads.routing.ReplayAssignment, request, retryable=True)
        view: ReplayView = {
            "equal": reply.equal,
            "decided": reply.told,
            "again": reply.again,
            "rule_version": reply.rule_version,
            "organisation": reply.organisation,
            "facts": dict(reply.facts),
            "figures": [
                {
                    "person_id": each.person_id,
                    "open_leads": each.open_leads,
                    "credit": each.credit,
                    "owed": each.owed,
                }
                for each in reply.figures
            ],
            "customer_owner_id": reply.customer_owner_id or None,
        }
        return answer(view)


def _trial_view(trial: leads_pb2.ScoreTrial) -> ScoreTrialView:
    return {
        "leads": trial.leads,
        "mean": trial.mean,
        "converted": trial.converted,
        "lost": trial.lost,
        "pairs_right": trial.pairs_right or None,
    }


def _rules_view(rules: leads_pb2.RuleSet) -> RulesView:
    return {
        "version": rules.version,
        "document": document_of(rules.document),
        "author": rules.author,
        "created_at": rfc3339(rules.created_at),
    }
