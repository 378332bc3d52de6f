"""`RoutingService`."""

from typing import Any

from google.protobuf.json_format import MessageToDict

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import leads_pb2 as pb
from breakwater.leads.v1.leads_pb2_grpc import RoutingServiceServicer
from services.leads.api.messages import rules_to
from services.leads.routing.usecases import BeginRules, dry_run_rules, get_rules, put_rules, roll_back_rules


class RoutingApi(RoutingServiceServicer):
    """Rules as versioned data (40)."""

    def __init__(self, begin: BeginRules, clock: Clock) -> None:
        self._begin = begin
        self._clock = clock

    async def GetRules(self, request: pb.GetRulesRequest, context: Any) -> pb.GetRulesResponse:
        return pb.GetRulesResponse(rules=rules_to(await get_rules(self._begin, wire.actor_from(request.actor))))

    async def PutRules(self, request: pb.PutRulesRequest, context: Any) -> pb.PutRulesResponse:
        rules = await put_rules(
            self._begin,
            wire.actor_from(request.actor),
            MessageToDict(request.document),
            request.expected_version,
            now=self._clock.now(),
        )
        return pb.PutRulesResponse(rules=rules_to(rules))

    async def DryRunRules(self, request: pb.DryRunRulesRequest, context: Any) -> pb.DryRunRulesResponse:
        run = await dry_run_rules(
            self._begin,
            wire.actor_from(request.actor),
            MessageToDict(request.document),
            request.leads_max,
            clock=self._clock,
        )
        differences = [
            pb.RoutingDifference(
                lead_id=each.lead_id,
                owner_today=each.owner_today or "",
                owner_then=each.owner_then or "",
                rule_id=each.rule_id,
            )
            for each in run.differences
        ]
        return pb.DryRunRulesResponse(leads=run.leads, same=run.same, changed=run.changed, differences=differences)

    async def RollBackRules(self, request: pb.RollBackRulesRequest, context: Any) -> pb.RollBackRulesResponse:
        rules = await roll_back_rules(
            self._begin, wire.actor_from(request.actor), request.version, now=self._clock.now()
        )
        return pb.RollBackRulesResponse(rules=rules_to(rules))
