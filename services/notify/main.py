"""Composition root of notify: the only reader of its settings."""

from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml

from breakwater.chassis import lifecycle
from breakwater.chassis.housekeeping import Housekeeping
from breakwater.chassis.inbox import Consumer
from breakwater.chassis.outbox import Relay
from breakwater.chassis.provider_probes import ProviderProbe, ask
from breakwater.chassis.service import Service
from breakwater.chassis.settings import MisconfiguredError, load, read_secret
from breakwater.notify.v1.channels_pb2_grpc import add_ChannelServiceServicer_to_server
from breakwater.notify.v1.notify_pb2_grpc import add_NotifyServiceServicer_to_server
from breakwater.notify.v1.templates_pb2_grpc import add_TemplateServiceServicer_to_server
from breakwater.notify.v1.workorders_pb2_grpc import add_WorkOrderServiceServicer_to_server
from breakwater.robots import FORMS, Credential, Robot
from services.notify.api.channels import ChannelApi
from services.notify.api.notifications import NotifyApi
from services.notify.api.templates import TemplateApi
from services.notify.api.workorders import WorkOrderApi
from services.notify.channels.store import ChannelStore
from services.notify.channels.usecases import Channels
from services.notify.clients import Ways
from services.notify.consumer import ExportEvents, LeadEvents
from services.notify.delivery.store import InboxStore, Posting
from services.notify.delivery.usecases import Delivery
from services.notify.escalation.worker import Dispatcher
from services.notify.probes import QUESTIONS
from services.notify.settings import NotifySettings
from services.notify.templates.domain import wordbook
from services.notify.templates.store import TemplateStore
from services.notify.templates.usecases import Wording
from services.notify.workorders.store import WorkOrderStore
from services.notify.workorders.usecases import WorkOrderDesk

WORDS = Path(__file__).with_name("templates") / "defaults.yaml"


def main() -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    lifecycle.run(serve)


async def serve() -> None:
    """One notify process."""
    settings = load(NotifySettings)
    async with Service("notify", settings, policies=Path(__file__).with_name("policies.yaml")) as service:
        database = await service.open_database()
        bus = await service.open_bus()
        clock, zone = service.clock, ZoneInfo(settings.zone)
        ways = ways_of(service)
        words = wordbook(yaml.safe_load(WORDS.read_text(encoding="utf-8")))
        posting = Posting(words, settings.holding, leaves=bool(ways.names))
        delivery = Delivery(InboxStore(database, posting), clock)
        service.add_rpc(add_NotifyServiceServicer_to_server, NotifyApi(delivery), callers={"gateway", "ops"})
        channels = Channels(ChannelStore(database), ways.names, clock)
        service.add_rpc(add_ChannelServiceServicer_to_server, ChannelApi(channels), callers={"gateway"})
        wording = Wording(TemplateStore(database, words), clock)
        service.add_rpc(add_TemplateServiceServicer_to_server, TemplateApi(wording), callers={"gateway"})
        desk = WorkOrderDesk(WorkOrderStore(database), clock)
        service.add_rpc(add_WorkOrderServiceServicer_to_server, WorkOrderApi(desk), callers={"gateway"})
        service.background("outbox-relay", Relay(database, bus, clock).run)
        service.background("housekeeping", Housekeeping(database, bus, clock).run)
        leads, exports = LeadEvents(clock, zone, posting), ExportEvents(clock, posting)
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
        if posting.leaves:
            dispatcher = Dispatcher(
                database,
                posting,
                ways.send,
                clock,
                rules=settings.rules,
                zone=zone,
                poll_s=settings.send_poll_s,
                in_flight_max=settings.send_in_flight_max,
            )
            service.background("dispatcher", dispatcher.run)
        probe_robots(service)
        await service.run()


def ways_of(service: Service[NotifySettings]) -> Ways:
    """What this deployment can speak with. Raises `MisconfiguredError` for a robot that cannot speak."""
    settings = service.settings
    robots: dict[str, Robot] = {}
    for key in sorted(settings.robots_folder.glob("*.*.key")) if settings.robots_folder else ():
        provider, name = key.name.removesuffix(".key").split(".", 1)
        if provider not in FORMS:
            raise MisconfiguredError(f"BREAKWATER_ROBOTS_FOLDER: {key.name} is of no provider known here")
        secret = key.with_suffix(".secret")
        credential = Credential(read_secret(key).decode(), read_secret(secret).decode() if secret.exists() else "")
        client = service.http(provider, judge=FORMS[provider].judge)
        try:
            robots[f"{provider}:{name}"] = Robot(provider, client, credential, service.clock)
        except ValueError as error:
            raise MisconfiguredError(f"BREAKWATER_ROBOTS_FOLDER: {key.name}: {error}") from error
    mails = settings.smtp_server is not None and settings.mail_from
    return Ways(robots, service.smtp() if mails else None, settings.mail_from)


def probe_robots(service: Service[NotifySettings]) -> None:
    """Looks at each robot that HTTP_BASES names, where an interval is set."""
    interval_s = service.settings.robots_probe_interval_s
    if interval_s is None:
        return
    for name in sorted(QUESTIONS.keys() & service.settings.http_bases.keys()):
        look = partial(ask, service.http(name), QUESTIONS[name])
        service.background(f"probe-{name}", ProviderProbe(name, look, interval_s=interval_s, clock=service.clock).run)
