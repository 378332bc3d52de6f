"""The peer: FastAPI -> gRPC -> PostgreSQL with the same business code and SQL, and none of our layers.

No authentication, policies, deadlines, idempotency of HTTP, limits, metrics, traces, problem details; no relay and nobody who
listens to the events (their rows are written: they are part of the SQL). `python -m bench.whole.bare leads|gateway`.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

import grpc
import uvicorn
import uvloop
from fastapi import FastAPI, File, Form, Request
from google.protobuf.json_format import MessageToDict

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.identity.v1 import identity_pb2
from breakwater.leads.v1 import leads_pb2 as pb
from breakwater.leads.v1.leads_pb2_grpc import (
    ImportServiceStub,
    LeadsServiceStub,
    add_ImportServiceServicer_to_server,
    add_LeadsServiceServicer_to_server,
)
from services.leads.api.imports import ImportsApi
from services.leads.api.leads import Creations, LeadsApi, create_together
from services.leads.datasets.store import PostgresDatasetReader
from services.leads.documents.store import Newest
from services.leads.followups.playbook import PLAYBOOK, read_playbook
from services.leads.followups.reads import PostgresFollowUpReader
from services.leads.followups.store import PostgresWorkStore
from services.leads.intake.batching import BatchLimits
from services.leads.intake.growth.domain import GROWTH, read_growth
from services.leads.intake.growth.store import PostgresGrowthReader
from services.leads.intake.imports import reading
from services.leads.intake.imports.documents import mapping_of
from services.leads.intake.imports.domain import ImportLimits
from services.leads.intake.imports.runner import ImportRunner
from services.leads.intake.imports.store import WAKE_TOPIC, PostgresImportStore, PostgresStores
from services.leads.intake.imports.usecases import Imports
from services.leads.intake.reads import PostgresLeadReader
from services.leads.intake.store import PostgresCaptureStore
from services.leads.routing.store import Snapshots
from services.leads.settings import LeadsSettings
from services.leads.sla.calendars import load_holidays

PART_BYTES = 256 * 1024
ACTOR = identity_pb2.Actor(sub="bench", role=identity_pb2.ROLE_ADMIN, scope=identity_pb2.SCOPE_ALL)


async def leads() -> None:
    """The gRPC side."""
    database = await Database.open(os.environ["BARE_DSN"], service="leads")
    clock, snapshots = SystemClock(), Snapshots(load_holidays(LeadsSettings.model_fields["holidays_file"].default))
    creations = Creations(
        partial(create_together, partial(PostgresCaptureStore.begin, database, snapshots), clock),
        BatchLimits(64, 1_000),
    )
    playbooks = Newest(PLAYBOOK, read_playbook)
    api = LeadsApi(
        creations,
        begin_reading=partial(PostgresLeadReader.begin, database, snapshots),
        begin_work=partial(PostgresWorkStore.begin, database, snapshots, playbooks),
        begin_follow_ups=partial(PostgresFollowUpReader.begin, database, snapshots, playbooks),
        begin_dataset=partial(PostgresDatasetReader.begin, database, snapshots),
        begin_growth=partial(PostgresGrowthReader.begin_growth, database, snapshots, Newest(GROWTH, read_growth)),
        clock=clock,
    )
    limits = ImportLimits()
    store = PostgresImportStore(database, lambda tx: PostgresStores(tx, snapshots), limits)
    runner = ImportRunner(store, mapping_of, clock, limits)
    database.listen(WAKE_TOPIC, runner.wake)
    server = grpc.aio.server()
    add_LeadsServiceServicer_to_server(api, server)
    add_ImportServiceServicer_to_server(ImportsApi(Imports(store, mapping_of, reading.inspect, clock, limits)), server)
    server.add_insecure_port(f"127.0.0.1:{os.environ['BARE_GRPC_PORT']}")
    await server.start()
    print("ready", flush=True)
    await asyncio.gather(creations.run(), runner.run())


def gateway() -> FastAPI:
    """The HTTP side."""
    app = FastAPI()
    stubs: dict[Any, Any] = {}

    def stub(kind: Any = LeadsServiceStub) -> Any:
        if kind not in stubs:
            stubs[kind] = kind(grpc.aio.insecure_channel(f"127.0.0.1:{os.environ['BARE_GRPC_PORT']}"))
        return stubs[kind]

    @app.post("/v1/imports", status_code=202)
    async def start_import(file: Annotated[bytes, File()], mapping: Annotated[str, Form()]) -> dict[str, Any]:
        async def parts() -> AsyncIterator[pb.StartImportRequest]:
            yield pb.StartImportRequest(head=pb.ImportHead(actor=ACTOR, filename="bench.csv", mapping=mapping))
            for start in range(0, len(file), PART_BYTES):
                yield pb.StartImportRequest(content=file[start : start + PART_BYTES])

        answer: dict[str, dict[str, Any]] = MessageToDict(await stub(ImportServiceStub).StartImport(parts()))
        return answer["import"]

    @app.get("/v1/imports/{import_id}")
    async def get_import(import_id: str) -> dict[str, Any]:
        asked = pb.GetImportRequest(actor=ACTOR, id=import_id)
        answer: dict[str, dict[str, Any]] = MessageToDict(await stub(ImportServiceStub).GetImport(asked))
        return answer["import"]

    @app.post("/v1/leads", status_code=201)
    async def create(request: Request) -> dict[str, Any]:
        answer = await stub().CreateLead(pb.CreateLeadRequest(actor=ACTOR, **json.loads(await request.body())))
        return MessageToDict(answer.lead)

    @app.get("/v1/leads/{lead_id}")
    async def read(lead_id: str) -> dict[str, Any]:
        return MessageToDict((await stub().GetLead(pb.GetLeadRequest(actor=ACTOR, id=lead_id))).lead)

    @app.get("/v1/leads")
    async def page(limit: int = 50) -> dict[str, Any]:
        answer = await stub().ListLeads(pb.ListLeadsRequest(actor=ACTOR, limit=limit))
        return {"items": [MessageToDict(lead) for lead in answer.leads], "next_cursor": answer.next_cursor}

    return app


def main() -> None:
    if sys.argv[1] == "leads":
        uvloop.install()
        asyncio.run(leads())
    else:
        uvicorn.run(
            gateway(),
            host="127.0.0.1",
            port=int(os.environ["BARE_HTTP_PORT"]),
            loop="uvloop",
            http="httptools",
            log_level="error",
        )


if __name__ == "__main__":
    main()
