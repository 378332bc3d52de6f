"""Composition root of the gateway: the only reader of its settings."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from breakwater.chassis import lifecycle, metrics
from breakwater.chassis.auth import CallerVerifier, KeySource
from breakwater.chassis.bus import Bus
from breakwater.chassis.database import Database
from breakwater.chassis.housekeeping import Housekeeping
from breakwater.chassis.inbox import Consumer
from breakwater.chassis.outbox import Relay
from breakwater.chassis.sealing import Seals
from breakwater.chassis.service import Service
from breakwater.chassis.settings import Environment, load, read_secret
from breakwater.resilience.shedding import Limiter
from services.gateway import consumer
from services.gateway.clients import DatasetRows, FilesClient, Health, Leads, Notify, WholeDatasets
from services.gateway.consumer import FilesEvents
from services.gateway.exports.domain import Patience
from services.gateway.exports.engine import ChildEngine, EngineLimits, Rows
from services.gateway.exports.runner import Runner
from services.gateway.exports.scratch import Scratch
from services.gateway.exports.snapshots import KeptRows, SnapshotLimits, Snapshots
from services.gateway.exports.store import ExportStore
from services.gateway.exports.usecases import Exports
from services.gateway.http import (
    boards,
    channels,
    customers,
    duplicates,
    exports,
    followups,
    forms,
    growth,
    imports,
    leads,
    merges,
    notifications,
    pages,
    people,
    platform,
    routing,
    sla,
    story,
    tagging,
    teams,
    wording,
    workorders,
)
from services.gateway.http.declare import Api
from services.gateway.http.edge import Edge, EdgeLimits
from services.gateway.http.imports import UploadLimits
from services.gateway.http.ratelimit import RateLimiter, RateLimits
from services.gateway.http.routes import Route
from services.gateway.http.server import HttpServer, ServerLimits
from services.gateway.http.sessions import SessionGate, Sessions
from services.gateway.settings import GatewaySettings


def main() -> None:
    """Runs the process to its end."""
    lifecycle.run(serve)


async def serve() -> None:
    """Wires the gateway and serves until it is asked to stop."""
    settings = load(GatewaySettings)
    async with Service("gateway", settings, policies=Path(__file__).with_name("policies.yaml")) as service:
        await compose(service)
        await service.run()


async def compose(service: Service[GatewaySettings]) -> HttpServer:
    """Everything but the run itself; answers the HTTP server, which knows its port."""
    settings = service.settings
    database = await service.open_database()
    bus = await service.open_bus()

    leads_service = Leads.over(service.channel("leads"))
    files = FilesClient(service.channel("files"))
    scratch = _scratch(settings)
    store = ExportStore(database, open_max=settings.exports_open_max)
    seals = Seals.from_files(settings.seal_key_file, settings.seal_key_previous_file)
    snapshots = _snapshots(service, leads_service)
    engine = _engine(settings, KeptRows(DatasetRows(leads_service), snapshots), scratch, seals)
    use_cases = Exports(store, files, engine, service.clock, _patience(settings), seals)
    runner = Runner(
        use_cases,
        store,
        database,
        service.clock,
        lease_s=settings.export_lease_s,
        active_max=settings.export_active_max,
    )

    verifier = await _verifier(service)
    sessions = Sessions(verifier, seals, service.clock, session_s_max=settings.boards_session_s_max)
    api = Api()
    leads.add_routes(api, leads_service)
    followups.add_routes(api, leads_service)
    tagging.add_routes(api, leads_service)
    story.add_routes(api, leads_service)
    people.add_routes(api, leads_service)
    teams.add_routes(api, leads_service)
    duplicates.add_routes(api, leads_service)
    boards.add_routes(api, leads_service)
    merges.add_routes(api, leads_service)
    pages.add_routes(api, sessions)
    growth.add_routes(api, leads_service)
    forms.add_routes(api, leads_service)
    customers.add_routes(api, leads_service, Health.over(service.channel("health")))
    notify = Notify.over(service.channel("notify"))
    for resource in (notifications, channels, wording, workorders):
        resource.add_routes(api, notify)
    exports.add_routes(api, use_cases, scratch, files, service.clock, serving=lambda: server.accepting)
    imports.add_routes(api, leads_service, _upload_limits(settings))
    routing.add_routes(api, leads_service)
    sla.add_routes(api, leads_service)
    platform.add_routes(api, ready=lambda: server.accepting, ops_url=settings.ops_url)
    server = HttpServer(
        SessionGate(_edge(service, verifier, api.routes), sessions.token),
        host=settings.host,
        port=settings.http_port,
        limits=ServerLimits(
            connections_max=settings.http_connections_max,
            head_size_bytes_max=settings.http_head_size_bytes_max,
            head_timeout_s=settings.http_head_timeout_s,
            keep_alive_s=settings.http_keep_alive_s,
        ),
    )
    service.add_front(server)

    service.background("export-runner", runner.run)
    if settings.snapshots_every_s:
        service.background("snapshots", snapshots.run)
    service.background("outbox-relay", Relay(database, bus, service.clock).run)
    service.background("files-events", _events(service, store, database, bus).run)
    service.background("housekeeping", Housekeeping(database, bus, service.clock).run)
    return server


async def _verifier(service: Service[GatewaySettings]) -> CallerVerifier:
    settings = service.settings
    keys = KeySource(
        settings.caller_jwks, production=settings.environment is Environment.PRODUCTION, clock=service.clock
    )
    await keys.start()
    service.background("caller-keys", keys.run)
    return CallerVerifier(keys, settings.caller_issuer, clock=service.clock)


def _edge(service: Service[GatewaySettings], verifier: CallerVerifier, routes: Sequence[Route]) -> Edge:
    settings = service.settings
    limiter = Limiter(
        ceiling=settings.http_concurrency_max,
        floor=min(settings.http_concurrency_min, settings.http_concurrency_max),
        start=settings.http_concurrency_start,
        ops_max=settings.http_ops_max,
        streams_max=settings.http_streams_max,
        adaptive=settings.http_concurrency_adaptive,
        ratio_max=settings.http_latency_ratio_max,
        clock=service.clock,
    )
    metrics.LIMITS.watch("http", limiter)
    return Edge(
        routes,
        verifier=verifier,
        rate_limiter=RateLimiter(
            RateLimits(settings.rate_quota, settings.rate_window_s, settings.rate_callers_max), service.clock
        ),
        hmac_key=read_secret(settings.hmac_key_file),
        limiter=limiter,
        limits=EdgeLimits(
            body_size_bytes_max=settings.http_body_size_bytes_max,
            send_timeout_s=settings.http_send_timeout_s,
        ),
        clock=service.clock,
    )


def _engine(settings: GatewaySettings, rows: Rows, scratch: Scratch, seals: Seals) -> ChildEngine:
    limits = EngineLimits(
        processes_max=settings.local_engines_max,
        timeout_s=settings.local_engine_timeout_s,
        memory_bytes_max=settings.local_engine_memory_bytes_max,
        rows_max=settings.local_engine_rows_max,
        file_size_bytes_max=settings.local_engine_file_size_bytes_max,
    )
    return ChildEngine(rows, scratch, seals, limits)


def _snapshots(service: Service[GatewaySettings], leads_service: Leads) -> Snapshots:
    settings = service.settings
    limits = SnapshotLimits(
        every_s=settings.snapshots_every_s,
        retry_s=settings.snapshots_retry_s,
        age_s_max=settings.snapshots_age_s_max,
        size_bytes_max=settings.snapshots_size_bytes_max,
    )
    return Snapshots(WholeDatasets(leads_service), settings.export_scratch_dir / "snapshots", service.clock, limits)


def _scratch(settings: GatewaySettings) -> Scratch:
    return Scratch(
        settings.export_scratch_dir / "exports",
        keep=timedelta(days=settings.local_files_days),
        size_bytes_max=settings.local_files_size_bytes_max,
    )


def _patience(settings: GatewaySettings) -> Patience:
    return Patience(
        stalled_s=settings.export_patience_s,
        give_up_s=settings.export_give_up_s,
        follow_up_give_up_s=settings.export_follow_up_days * 86_400.0,
    )


def _upload_limits(settings: GatewaySettings) -> UploadLimits:
    directory = settings.export_scratch_dir / "uploads"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return UploadLimits(
        size_bytes_max=settings.upload_size_bytes_max, uploads_max=settings.uploads_max, directory=directory
    )


def _events(service: Service[GatewaySettings], store: ExportStore, database: Database, bus: Bus) -> Consumer:
    return Consumer(
        bus,
        database,
        stream=consumer.STREAM,
        durable=consumer.DURABLE,
        handlers=FilesEvents(store, service.clock).handlers,
        clock=service.clock,
    )
