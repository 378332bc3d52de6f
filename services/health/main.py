"""Composition root of health: the only reader of its settings."""

from pathlib import Path
from zoneinfo import ZoneInfo

from breakwater.chassis import lifecycle
from breakwater.chassis.housekeeping import Housekeeping
from breakwater.chassis.inbox import Consumer
from breakwater.chassis.outbox import Relay
from breakwater.chassis.service import Service
from breakwater.chassis.settings import load
from breakwater.health.v1.health_pb2_grpc import add_HealthScoringServiceServicer_to_server
from services.health.api import HealthApi
from services.health.consumer import LeadEvents
from services.health.scoring import model as scoring_model
from services.health.scoring.runner import ScoringRunner
from services.health.scoring.store import DUE, ScoreStore
from services.health.scoring.usecases import ReadHealth, Scoring
from services.health.settings import HealthSettings
from services.health.signals.store import SignalStore
from services.health.signals.usecases import RecordSignals


def main() -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    lifecycle.run(serve)


async def serve() -> None:
    """One health process."""
    settings = load(HealthSettings)
    model = scoring_model.load(settings.scoring_model)
    async with Service("health", settings, policies=Path(__file__).with_name("policies.yaml")) as service:
        database = await service.open_database()
        bus = await service.open_bus()
        clock = service.clock
        scores = ScoreStore(database)
        kinds = frozenset(kind for metric in model.metrics for kind in metric.kinds)
        record = RecordSignals(SignalStore(database), model, kinds, clock)
        service.add_rpc(
            add_HealthScoringServiceServicer_to_server, HealthApi(record, ReadHealth(scores)), callers={"gateway"}
        )
        scoring = Scoring(
            transactions=scores,
            model=model,
            clock=clock,
            nightly_at=settings.nightly_at,
            zone=ZoneInfo(settings.zone),
            batch_customers_max=settings.score_batch_customers_max,
        )
        runner = ScoringRunner(scoring, clock)
        database.listen(DUE, runner.wake)
        service.background("scoring", runner.run)
        service.background("outbox-relay", Relay(database, bus, clock).run)
        service.background("housekeeping", Housekeeping(database, bus, clock).run)
        leads = LeadEvents()
        consumer = Consumer(
            bus,
            database,
            stream="LEADS",
            durable="health",
            handlers=leads.handlers(),
            batch_handlers=leads.batch_handlers(),
            clock=clock,
            gather_s=settings.signals_gather_s,
        )
        service.background("leads-events", consumer.run)
        await service.run()
