"""Imports of files by mapping: `/v1/imports`."""

import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from typing_extensions import TypedDict

from breakwater.chassis.errors import FieldError, InvalidRequestError, OverloadedError
from breakwater.chassis.wire import actor_to
from breakwater.identity.v1.identity_pb2 import Idempotency
from breakwater.leads.v1 import leads_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, StreamAnswer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api
from services.gateway.http.routes import PageQuery
from services.gateway.http.upload import Upload, receive

_ANSWER_TIMEOUT_S = 30.0
"""leads stores the whole file before it answers."""
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "CSV or XLSX."},
                        "mapping": {
                            "type": "string",
                            "description": "The name of a shipped mapping, such as zoho; default without one.",
                        },
                        "mapping_document": {"type": "string", "description": "A mapping in YAML, instead of a name."},
                        "reassign": {
                            "type": "string",
                            "enum": ["true", "false"],
                            "description": "Route open leads anew that come with an owner.",
                        },
                    },
                }
            }
        },
    }
}


class ImportView(TypedDict):
    """An import and how far it is; `errors_url` lists the rejected rows, `report_url` is what became of each."""

    id: str
    state: str
    dataset: str | None
    rows: int
    rows_done: int
    created: int
    merged: int
    rejected: int
    unlinked: int
    failure: str | None
    errors_url: str
    report_url: str
    created_at: str | None
    finished_at: str | None


class RejectionView(TypedDict):
    """A row that was not imported; the header is row 1."""

    row: int
    field: str | None
    reason: str
    raw: str


class RejectionPage(TypedDict):
    """By row number."""

    items: list[RejectionView]
    next_cursor: str | None


class UploadLimits:
    """How large one upload may be, and how many may be on their way."""

    def __init__(self, *, size_bytes_max: int, uploads_max: int, directory: Path) -> None:
        self.size_bytes_max = size_bytes_max
        self.directory = directory
        self._free = uploads_max

    async def __aenter__(self) -> None:
        if self._free <= 0:
            raise OverloadedError("too many uploads at a time", retry_after_s=2.0)
        self._free -= 1

    async def __aexit__(self, *_: object) -> None:
        self._free += 1


def add_routes(api: Api, leads: Leads, limits: UploadLimits) -> None:
    """Adds the routes of imports."""

    @api.route("POST", "/v1/imports", ImportView, status=202, tag="imports", extra=_FORM | KEYED)
    async def start_import(call: Call) -> Answer:
        """Takes a CSV or XLSX file; when it answers, the file is stored and will be imported."""
        async with limits:
            upload = await receive(
                call,
                file_field="file",
                text_fields=frozenset({"mapping", "mapping_document", "reassign"}),
                size_bytes_max=limits.size_bytes_max,
                directory=limits.directory,
            )
            try:
                parts = _parts(call, upload)
                reply = await leads.channel.upload(leads.imports.StartImport, parts, answer_timeout_s=_ANSWER_TIMEOUT_S)
            finally:
                upload.close()
        view = _import_view(getattr(reply, "import"))
        return answer(view, status=202, replayed=reply.replayed, location=f"/v1/imports/{view['id']}")

    @api.route("GET", "/v1/imports/{import_id}", ImportView, tag="imports")
    async def get_import(call: Call, import_id: str) -> Answer:
        """How far an import is."""
        request = leads_pb2.GetImportRequest(actor=actor_to(call.actor), id=import_id)
        reply = await leads.channel.unary(leads.imports.GetImport, request, retryable=True)
        return answer(_import_view(getattr(reply, "import")))

    @api.route("GET", "/v1/imports/{import_id}/rejections", RejectionPage, tag="imports")
    async def list_rejections(call: Call, import_id: str, query: Annotated[PageQuery, Query()]) -> Answer:
        """The rejected rows with row number and reason."""
        request = leads_pb2.ListRejectionsRequest(
            actor=actor_to(call.actor), import_id=import_id, limit=query.limit, cursor=query.cursor
        )
        reply = await leads.channel.unary(leads.imports.ListRejections, request, retryable=True)
        page: RejectionPage = {
            "items": [
                {"row": each.row, "field": each.field or None, "reason": each.reason, "raw": each.raw}
                for each in reply.rejections
            ],
            "next_cursor": reply.next_cursor or None,
        }
        return answer(page)

    @api.route(
        "GET",
        "/v1/imports/{import_id}/report",
        None,
        tag="imports",
        responses={200: {"description": "CSV in UTF-8, a line for each row of the file.", "content": {"text/csv": {}}}},
    )
    async def get_import_report(call: Call, import_id: str) -> StreamAnswer:
        """What became of every row of the file, as CSV: created, merged, recorded, unlinked, or rejected and why."""
        first = await _rows(call, leads, import_id, "")
        headers = [(b"content-disposition", f'attachment; filename="import-{import_id}.csv"'.encode())]
        return StreamAnswer(200, _report(call, leads, import_id, first), None, b"text/csv; charset=utf-8", headers)


async def _rows(call: Call, leads: Leads, import_id: str, cursor: str) -> leads_pb2.ListImportRowsResponse:
    request = leads_pb2.ListImportRowsRequest(actor=actor_to(call.actor), import_id=import_id, cursor=cursor)
    return await leads.channel.unary(leads.imports.ListImportRows, request, retryable=True)


async def _report(
    call: Call, leads: Leads, import_id: str, first: leads_pb2.ListImportRowsResponse
) -> AsyncGenerator[bytes, None]:
    # Spreadsheets take a file for UTF-8 that begins so.
    yield b"\xef\xbb\xbfrow,outcome,id,field,reason\r\n"
    page = first
    while True:
        lines = io.StringIO()
        csv.writer(lines).writerows((each.row, each.outcome, each.id, each.field, each.reason) for each in page.rows)
        yield lines.getvalue().encode()
        if not page.next_cursor:
            return
        page = await _rows(call, leads, import_id, page.next_cursor)


async def _parts(call: Call, upload: Upload) -> AsyncIterator[leads_pb2.StartImportRequest]:
    key = call.idempotency_key
    fields = upload.fields
    if fields.get("mapping") and fields.get("mapping_document"):
        raise InvalidRequestError(
            "which mapping?", errors=(FieldError("mapping", "give mapping or mapping_document, not both"),)
        )
    if fields.get("reassign", "false") not in {"true", "false"}:
        raise InvalidRequestError("reassign is not usable", errors=(FieldError("reassign", "must be true or false"),))
    head = leads_pb2.ImportHead(
        actor=actor_to(call.actor),
        idempotency=Idempotency(
            key=key, body_hmac=call.body_hmac(upload.sha256, upload.canonical_fields()) if key else b""
        ),
        filename=upload.filename,
        mapping=fields.get("mapping") or ("" if fields.get("mapping_document") else "default"),
        mapping_document=fields.get("mapping_document", ""),
        reassign=fields.get("reassign") == "true",
    )
    yield leads_pb2.StartImportRequest(head=head)
    async for chunk in upload.chunks():
        yield leads_pb2.StartImportRequest(content=chunk)


def _import_view(record: leads_pb2.Import) -> ImportView:
    return {
        "id": record.id,
        "state": record.state,
        "dataset": record.dataset or None,
        "rows": record.rows,
        "rows_done": record.rows_done,
        "created": record.created,
        "merged": record.merged,
        "rejected": record.rejected,
        "unlinked": record.unlinked,
        "failure": record.failure or None,
        "errors_url": f"/v1/imports/{record.id}/rejections",
        "report_url": f"/v1/imports/{record.id}/report",
        "created_at": rfc3339(record.created_at),
        "finished_at": rfc3339(record.finished_at),
    }
