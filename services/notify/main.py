"""Composition root of notify: the only reader of its settings."""

from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from breakwater.chassis import lifecycle
from breakwater.chassis.housekeeping import Housekeeping
from breakwater.chassis.inbox import Consumer
from breakwater.chassis.outbox import Relay
from breakwater.chassis.provider_probes import ProviderProbe, ask
from breakwater.chassis.service import Service
from breakwater.chassis.settings import load
from breakwater.notify.v1.notify_pb2_grpc import add_NotifyServiceServicer_to_server
from services.notify.api import NotifyApi
from services.notify.consumer import ExportEvents, LeadEvents
from services.notify.delivery.store import InboxStore
from services.notify.delivery.usecases import Delivery
from services.notify.probes import QUESTIONS
from services.notify.settings import NotifySettings


def main() -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    lifecycle.run(serve)


async def serve() -> None:
    """One notify process."""
    settings = load(NotifySettings)
    async with Service("notify", settings, policies=Path(__file__).with_name("policies.yaml")) as service:
        database = await service.open_database()
        bus = await service.open_bus()
        clock = service.clock
        delivery = Delivery(InboxStore(database), clock)
        service.add_rpc(add_NotifyServiceServicer_to_server, NotifyApi(delivery), callers={"gateway", "ops"})
        service.background("outbox-relay", Relay(database, bus, clock).run)
        service.background("housekeeping", Housekeeping(database, bus, clock).run)
        leads, exports = LeadEvents(clock, ZoneInfo(settings.zone)), ExportEvents(clock)
        leads_events = Consumer(
            bus,
            database,
            stream="LEADS",
            durable="notify",
            handlers=leads.handlers(),
            batch_handlers=leads.batch_handlers(),
            clock=clock,
        )
        service.background("leads-events", leads_events.run)
        gateway_events = Consumer(
            bus, database, stream="GATEWAY", durable="notify", handlers=exports.handlers(), clock=clock
        )
        service.background("gateway-events", gateway_events.run)
        probe_robots(service)
        await service.run()


def probe_robots(service: Service[NotifySettings]) -> None:
    """Looks at each robot that HTTP_BASES names, where an interval is set."""
    interval_s = service.settings.robots_probe_interval_s
    if interval_s is None:
        return
    for name in sorted(QUESTIONS.keys() & service.settings.http_bases.keys()):
        look = partial(ask, service.http(name), QUESTIONS[name])
        service.background(f"probe-{name}", ProviderProbe(name, look, interval_s=interval_s, clock=service.clock).run)
