"""Composition root of files: the only reader of its settings."""

import json
from datetime import timedelta
from functools import partial
from pathlib import Path

from breakwater.chassis import lifecycle
from breakwater.chassis.housekeeping import Housekeeping
from breakwater.chassis.ids import uuid7
from breakwater.chassis.inbox import Consumer
from breakwater.chassis.outbox import Relay
from breakwater.chassis.provider_probes import Look, ProviderProbe, ask
from breakwater.chassis.sealing import Seals
from breakwater.chassis.service import Service
from breakwater.chassis.settings import MisconfiguredError, load, read_secret
from breakwater.files.v1.files_pb2_grpc import add_FilesServiceServicer_to_server
from services.files import finance
from services.files.api import FilesApi
from services.files.clients import LeadsRows
from services.files.consumer import GatewayEvents
from services.files.documents.domain import DocumentLimits
from services.files.exports import objects, probe
from services.files.exports.domain import Limits
from services.files.exports.encoding import ProcessEncoder
from services.files.exports.store import CLAIMED, JobStore
from services.files.exports.usecases.requests import Exports
from services.files.exports.usecases.workers import Pace, Workers
from services.files.settings import FilesSettings


def main() -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    lifecycle.run(serve)


async def serve() -> None:
    """One files process."""
    settings = load(FilesSettings)
    policies = Path(__file__).with_name("policies.yaml")
    async with Service("files", settings, policies=policies, classifiers={"objects": objects.classify}) as service:
        database = await service.open_database()
        bus = await service.open_bus()
        clock = service.clock
        limits = Limits(
            rows_max=settings.export_rows_max,
            size_bytes_max=settings.export_size_bytes_max,
            queued_max=settings.exports_queued_max,
            retention_s=settings.export_retention_s,
        )
        jobs = JobStore(
            database, queued_max=limits.queued_max, retention=timedelta(seconds=settings.export_retention_s)
        )
        store = objects.ObjectStore(
            settings.object_store_url, service.policy("objects"), _options(settings.object_store_options_file)
        )
        workers = Workers(
            jobs,
            LeadsRows(service.channel("leads")),
            ProcessEncoder(
                zone=settings.zone,
                memory_bytes_max=settings.encoder_memory_bytes_max,
                size_bytes_max=limits.size_bytes_max,
                spool_dir=settings.encoder_spool_dir,
                clock=clock,
                documents=DocumentLimits(
                    rows_max=settings.report_rows_max,
                    characters_max=settings.report_characters_max,
                    letters_max=settings.letters_max,
                    pages_max=settings.document_pages_max,
                    memory_bytes_max=settings.document_memory_bytes_max,
                    cpu_s_max=settings.document_cpu_s_max,
                ),
            ),
            store,
            Seals.from_files(settings.seal_key_file, settings.seal_key_previous_file),
            clock,
            name=f"files-{uuid7()}",
            limits=limits,
            pace=Pace(
                concurrency_max=settings.exports_concurrency_max,
                quick_concurrency_max=settings.exports_quick_concurrency_max,
                quick_rows_max=settings.exports_quick_rows_max,
                stalled_s=settings.export_stalled_s,
                document_stalled_s=settings.document_cpu_s_max,
            ),
        )
        database.listen(CLAIMED, workers.wake)
        exports = Exports(jobs, store, clock)
        consumer = Consumer(
            bus,
            database,
            stream="GATEWAY",
            durable="files",
            handlers=GatewayEvents(jobs, clock).handlers(),
            clock=clock,
        )
        service.add_rpc(add_FilesServiceServicer_to_server, FilesApi(exports), callers={"gateway"})
        service.background("outbox-relay", Relay(database, bus, clock).run)
        service.background("housekeeping", Housekeeping(database, bus, clock).run)
        service.background("gateway-events", consumer.run)
        service.background("exports", workers.run)
        service.background("retention", workers.sweep)
        if (interval_s := settings.object_store_probe_interval_s) is not None:
            _probe(service, objects.DEPENDENCY, partial(probe.look_at, store, service.instance), interval_s)
        if (interval_s := settings.finance_probe_interval_s) is not None:
            question = finance.question(_finance_key(settings))
            _probe(service, finance.DEPENDENCY, partial(ask, service.http(finance.DEPENDENCY), question), interval_s)
        await service.run()


def _probe(service: Service[FilesSettings], dependency: str, look: Look, interval_s: float) -> None:
    service.background(
        f"probe-{dependency}", ProviderProbe(dependency, look, interval_s=interval_s, clock=service.clock).run
    )


def _finance_key(settings: FilesSettings) -> str:
    if settings.finance_key_file is None:
        raise MisconfiguredError("a probe of the finance system needs BREAKWATER_FINANCE_KEY_FILE")
    return read_secret(settings.finance_key_file).decode()


def _options(file: Path | None) -> dict[str, str] | None:
    return dict(json.loads(read_secret(file))) if file else None
