"""`RoutingService`. Documents of thousands of rules are read in threads, so that others get their turn."""

import asyncio
from typing import Any

from google.protobuf.json_format import MessageToDict

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import leads_pb2 as pb
from breakwater.leads.v1.leads_pb2_grpc import RoutingServiceServicer
from services.leads.api.messages import decimal_text, rules_to
from services.leads.routing.usecases import (
    BeginRules,
    ScoreTrial,
    dry_run_rules,
    get_rules,
    put_rules,
    replay_assignment,
    roll_back_rules,
)


class RoutingApi(RoutingServiceServicer):
    """Rules as versioned data (40)."""

    def __init__(self, begin: BeginRules, clock: Clock) -> None:
        self._begin = begin
        self._clock = clock

    async def GetRules(self, request: pb.GetRulesRequest, context: Any) -> pb.GetRulesResponse:
        return pb.GetRulesResponse(
            rules=rules_to(await get_rules(self._begin, wire.actor_from(request.actor), request.version))
        )

    async def PutRules(self, request: pb.PutRulesRequest, context: Any) -> pb.PutRulesResponse:
        rules = await put_rules(
            self._begin,
            wire.actor_from(request.actor),
            await asyncio.to_thread(MessageToDict, request.document),
            request.expected_version,
            now=self._clock.now(),
        )
        return pb.PutRulesResponse(rules=rules_to(rules))

    async def DryRunRules(self, request: pb.DryRunRulesRequest, context: Any) -> pb.DryRunRulesResponse:
        run = await dry_run_rules(
            self._begin,
            wire.actor_from(request.actor),
            await asyncio.to_thread(MessageToDict, request.document),
            request.leads_max,
            clock=self._clock,
        )
        differences = [
            pb.RoutingDifference(
                lead_id=each.lead_id,
                owner_today=each.owner_today or "",
                owner_then=each.owner_then or "",
                rule_id=each.rule_id,
                score_today=decimal_text(each.score_today),
                score_then=decimal_text(each.score_then),
            )
            for each in run.differences
        ]
        return pb.DryRunRulesResponse(
            leads=run.leads,
            same=run.same,
            changed=run.changed,
            differences=differences,
            rules=[pb.RuleCount(rule_id=rule_id, leads=count) for rule_id, count in run.by_rule],
            score_today=_trial_to(run.score_today),
            score_then=_trial_to(run.score_then),
        )

    async def RollBackRules(self, request: pb.RollBackRulesRequest, context: Any) -> pb.RollBackRulesResponse:
        rules = await roll_back_rules(
            self._begin, wire.actor_from(request.actor), request.version, now=self._clock.now()
        )
        return pb.RollBackRulesResponse(rules=rules_to(rules))

    async def ReplayAssignment(self, request: pb.ReplayAssignmentRequest, context: Any) -> pb.ReplayAssignmentResponse:
        replay = await replay_assignment(
            self._begin, wire.actor_from(request.actor), request.lead_id, request.assignment_id
        )
        stood_on = replay.stood_on
        return pb.ReplayAssignmentResponse(
            equal=replay.is_equal,
            told=replay.told.decode(),
            again=replay.again.decode(),
            rule_version=replay.rule_version,
            organisation=replay.organisation,
            facts={name: str(value) for name, value in stood_on.facts.items()},
            figures=[
                pb.LedgerFigures(person_id=person_id, open_leads=each.open_leads, credit=each.credit, owed=each.owed)
                for person_id, each in stood_on.figures.items()
            ],
            customer_owner_id=stood_on.customer_owner_id or "",
        )


def _trial_to(trial: ScoreTrial | None) -> pb.ScoreTrial | None:
    if trial is None:
        return None
    return pb.ScoreTrial(
        leads=trial.leads,
        mean=decimal_text(trial.mean),
        converted=trial.converted,
        lost=trial.lost,
        pairs_right=decimal_text(trial.pairs_right),
    )
