"""Composition root of notify: the only reader of its settings."""

from pathlib import Path
from zoneinfo import ZoneInfo

from breakwater.chassis import lifecycle
from breakwater.chassis.housekeeping import Housekeeping
from breakwater.chassis.inbox import Consumer
from breakwater.chassis.outbox import Relay
from breakwater.chassis.service import Service
from breakwater.chassis.settings import load
from breakwater.notify.v1.notify_pb2_grpc import add_NotifyServiceServicer_to_server
from services.notify.api import NotifyApi
from services.notify.consumer import ExportEvents, LeadEvents
from services.notify.delivery.store import InboxStore
from services.notify.delivery.usecases import Delivery
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
        leads = LeadEvents(clock, ZoneInfo(settings.zone)).handlers()
        for stream, handlers in (("LEADS", leads), ("GATEWAY", ExportEvents(clock).handlers())):
            consumer = Consumer(bus, database, stream=stream, durable="notify", handlers=handlers, clock=clock)
            service.background(f"{stream.lower()}-events", consumer.run)
        await service.run()
