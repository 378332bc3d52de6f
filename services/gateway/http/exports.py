"""Exports and their content (36-39): `/v1/exports`."""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal, NotRequired, Protocol

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, FieldError, InvalidRequestError, NotFoundError
from services.gateway.exports.domain import REPORT_FIELDS_MAX, Engine, Export, File, Letter, Spec
from services.gateway.exports.scratch import Scratch
from services.gateway.exports.usecases import Exports, Key
from services.gateway.http.answers import Answer, Header, StreamAnswer, answer, rfc3339_of
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api
from services.gateway.http.problems import RangeNotSatisfiableError
from services.gateway.http.progress import progress_events
from services.gateway.http.routes import Identifier, Input, ShortText

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MEDIA_TYPES = {
    "xlsx": b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": b"text/csv; charset=utf-8",
    "gbk-csv": b"text/csv; charset=gbk",
    "pdf": b"application/pdf",
    "zip": b"application/zip",
}


def _printable(password: str | None) -> str | None:
    # What no keyboard types, no other program would take as this password.
    if password is not None and not password.isprintable():
        raise ValueError("holds characters that are not allowed")
    return password


FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class ExportFilter(Input):
    """Narrows the rows; what is absent does not."""

    stage: ShortText | None = None
    owner_id: Identifier | None = None
    source: ShortText | None = None


class LetterText(Input):
    """What the letters of a batch say to every customer (41)."""

    highlights: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=8)] = ()
    offer: Annotated[str, Field(min_length=1, max_length=600)]
    offer_until: date | None = None


class NewExport(Input):
    """The file that is wanted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset": "leads", "format": "xlsx", "filter": {"stage": "qualified"}},
                {
                    "dataset": "renewals",
                    "format": "pdf",
                    "letter": {
                        "highlights": ["全年可用率 99.98 %"],
                        "offer": "续签三年享八折。",
                        "offer_until": "2026-12-31",
                    },
                },
            ]
        }
    )

    dataset: Literal["leads", "customers", "assignments", "renewals", "lead-timeliness", "personal-board"]
    """`renewals` is a letter to each customer, together in a ZIP."""
    format: Literal["xlsx", "csv", "pdf"]
    encoding: Literal["utf-8", "gbk"] = "utf-8"
    """Of a csv: UTF-8 with a byte order mark, or GBK, where a character that it lacks becomes `?`."""
    fields: Annotated[tuple[FieldName, ...], Field(max_length=200)] = ()
    """Columns in order; empty for the dataset's own, in a PDF its base columns."""
    filter: ExportFilter = ExportFilter()
    template_version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}$")] | None = None
    """Of a PDF; the newest without it."""
    letter: LetterText | None = None
    """With `renewals`, and only then."""
    password: Annotated[str | None, Field(min_length=8, max_length=128, repr=False), AfterValidator(_printable)] = None
    """Of an xlsx: the file is encrypted with it (AES-256). It is kept sealed until the file is made and never shown again."""


class DegradedExport(TypedDict):
    """What a file of the local engine lacks, and the export that will have it all."""

    dependency: str
    fallback: str
    missing: list[str]
    reason: str
    follow_up: str
    as_of: NotRequired[str | None]
    """The rows are of that time, because leads was out as well."""


class DocumentView(TypedDict):
    """What a PDF was made by: with the same data it is made again to the byte."""

    template: str
    version: str
    template_sha256: str


class FailureView(TypedDict):
    """Why there will be no file."""

    code: str
    detail: str


class ExportAccepted(TypedDict):
    """Poll `GET /v1/exports/{id}` until its state is completed or failed."""

    id: str
    state: str


class ExportView(TypedDict):
    """An export. `superseded_by` names the full one, once it is complete; an encrypted one opens with its password."""

    id: str
    state: str
    dataset: str
    format: str
    encrypted: bool
    engine: str | None
    rows: int | None
    rows_done: int
    rows_total: int
    size_bytes: int | None
    sha256: str | None
    created_at: str | None
    finished_at: str | None
    document: NotRequired[DocumentView]
    degraded: NotRequired[DegradedExport]
    supersedes: NotRequired[str]
    superseded_by: NotRequired[str]
    failure: NotRequired[FailureView]


class Content(Protocol):
    """Where full files are read. Raises `BreakwaterError`."""

    def content(self, job_id: str, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """Part of a file."""
        ...


def add_routes(
    api: Api, exports: Exports, scratch: Scratch, files: Content, clock: Clock, *, serving: Callable[[], bool]
) -> None:
    """Adds the routes of exports. While not `serving`, a progress ends: an open one must not hold a drain."""
    downloads = _Downloads(exports, scratch, files)

    @api.route("POST", "/v1/exports", ExportAccepted, status=202, tag="exports", extra=KEYED)
    async def request_export(call: Call, body: NewExport) -> Answer:
        """Asks for a file; while files is out a lesser one is made at once and the full one follows by itself."""
        _refuse_what_is_not_there(body)
        filters = {name: value for name, value in body.filter.model_dump().items() if value is not None}
        spec = Spec(
            body.dataset,
            body.format,
            body.fields,
            filters,
            template_version=body.template_version or "",
            encrypted=body.password is not None,
            gbk=body.encoding == "gbk",
            letter=_letter(body.letter),
        )
        key = Key(call.idempotency_key, call.body_hmac(call.content) if call.idempotency_key else b"")
        export, replayed = await exports.request(call.actor, spec, key, body.password)
        accepted: ExportAccepted = {"id": export.id, "state": "queued" if replayed else export.state.value}
        return answer(accepted, status=202, replayed=replayed, location=f"/v1/exports/{export.id}")

    @api.route("GET", "/v1/exports/{export_id}", ExportView, tag="exports")
    async def get_export(call: Call, export_id: str) -> Answer:
        """How far it is, who made it, and what it lacks."""
        export = await exports.read(call.actor, export_id)
        return answer(_export_view(export), degraded=export.degradation.dependency if export.degradation else None)

    @api.route("POST", "/v1/exports/{export_id}/cancel", ExportView, tag="exports")
    async def cancel_export(call: Call, export_id: str) -> Answer:
        """Nobody makes it any more; one that was cancelled before answers the same."""
        return answer(_export_view(await exports.cancel(call.actor, export_id)))

    @api.route(
        "GET",
        "/v1/exports/{export_id}/progress",
        None,
        tag="exports",
        responses={
            200: {
                "description": "Server-sent events `progress` until the export has ended: state, rows_done, rows_total,"
                " percent, time_left_s.",
                "content": {"text/event-stream": {}},
            }
        },
    )
    async def get_progress(call: Call, export_id: str) -> StreamAnswer:
        """How far it is, told whenever that changes, until it has ended."""
        first = await exports.read(call.actor, export_id)
        progress = progress_events(first, lambda: exports.read(call.actor, export_id), clock, serving)
        return StreamAnswer(200, progress, None, b"text/event-stream; charset=utf-8")

    @api.route(
        "GET",
        "/v1/exports/{export_id}/content",
        None,
        tag="exports",
        responses={
            200: {"description": "The file; its ETag is its SHA-256.", "content": {"application/octet-stream": {}}},
            206: {"description": "The range asked for."},
            304: {"description": "The caller has this file already (If-None-Match)."},
            416: {"description": "The range lies outside of the file."},
        },
    )
    async def get_content(call: Call, export_id: str) -> Answer | StreamAnswer:
        """The file, whole or one range of it."""
        return await downloads.answer(call, await exports.read_finished(call.actor, export_id))


@dataclass(frozen=True, slots=True)
class _Downloads:
    """Where the content of exports comes from."""

    exports: Exports
    scratch: Scratch
    files: Content

    async def answer(self, call: Call, export: Export) -> Answer | StreamAnswer:
        """The file as it was asked for; a lesser one where files cannot hand out the full one."""
        try:
            return await self._content(call, export)
        except BreakwaterError as failure:
            # Part of another file is no answer to who has the rest of this one.
            if export.engine is Engine.LOCAL or (call.header("range") and not call.header("if-range")):
                raise
            return await self._content(call, await self.exports.stand_in(export, failure))

    async def _content(self, call: Call, export: Export) -> Answer | StreamAnswer:
        if export.file is None:
            raise NotFoundError("there is no such file")
        headers = _content_headers(export, export.file)
        etag = f'"{export.file.sha256}"'
        if etag in (call.header("if-none-match") or ""):
            return Answer(304, headers=headers)
        asked = call.header("range") if call.header("if-range") in {None, etag} else None
        part = _range_of(asked, export.file.size_bytes)
        offset, length = part or (0, export.file.size_bytes)
        chunks = await _begun(self._chunks(export, offset, length))
        if part is not None:
            last = offset + length - 1
            headers.append((b"content-range", f"bytes {offset}-{last}/{export.file.size_bytes}".encode()))
        media_type = _MEDIA_TYPES[export.spec.kind if export.spec.gbk else export.content_format]
        return StreamAnswer(206 if part else 200, chunks, length, media_type, headers)

    def _chunks(self, export: Export, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        if export.engine is Engine.LOCAL:
            return self.scratch.read(self.scratch.path(export.id, export.content_format), offset, length)
        return self.files.content(export.job_id, offset, length)


def _refuse_what_is_not_there(body: NewExport) -> None:
    renewals = body.dataset == "renewals"
    refused = []
    if body.password is not None and body.format != "xlsx":
        # Better no file than one that only seems protected.
        refused.append(FieldError("password", f"goes with format xlsx; {body.format} cannot be encrypted"))
    if body.encoding != "utf-8" and body.format != "csv":
        refused.append(FieldError("encoding", "goes with format csv"))
    if renewals and body.format != "pdf":
        refused.append(FieldError("format", "is pdf for renewals; their customers as rows are the dataset customers"))
    if renewals and body.fields:
        refused.append(FieldError("fields", "are decided by the template of a letter"))
    if renewals and body.letter is None:
        refused.append(FieldError("letter", "says what the letters offer"))
    if body.letter is not None and not renewals:
        refused.append(FieldError("letter", "goes with the dataset renewals"))
    if body.template_version is not None and body.format != "pdf":
        refused.append(FieldError("template_version", "goes with format pdf"))
    if body.format == "pdf" and len(body.fields) > REPORT_FIELDS_MAX:
        refused.append(FieldError("fields", f"are at most {REPORT_FIELDS_MAX} in a PDF; xlsx has room for more"))
    if refused:
        raise InvalidRequestError("this file cannot be made", errors=refused)


def _letter(text: LetterText | None) -> Letter | None:
    if text is None:
        return None
    return Letter(text.highlights, text.offer, text.offer_until.isoformat() if text.offer_until else "")


async def _begun(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same chunks, the first one already read: what fails before it can still be told by the status."""
    try:
        first = await anext(chunks, b"")
    except FileNotFoundError:
        raise NotFoundError("the file's retention is over", code="export_expired") from None

    async def with_the_first() -> AsyncGenerator[bytes, None]:
        async with aclosing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    return with_the_first()


def _range_of(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Offset and length of the one range asked for; None for the whole (RFC 9110 14.2: others may be ignored).

    Raises `RangeNotSatisfiableError`.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or (not found[1] and not found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size_bytes)
        offset = size_bytes - length
    else:
        offset = int(found[1])
        if found[2] and int(found[2]) < offset:
            return None
        length = min(int(found[2] or size_bytes), size_bytes - 1) - offset + 1
    if length <= 0:
        raise RangeNotSatisfiableError("the range lies outside of the file", size_bytes)
    return offset, length


def _content_headers(export: Export, file: File) -> list[Header]:
    lesser = "-degraded" if export.degradation else ""
    name = f"{export.spec.dataset}-{export.id}{lesser}.{export.content_format}"
    headers: list[Header] = [
        (b"etag", f'"{file.sha256}"'.encode()),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", b"private, no-cache"),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
    ]
    if export.degradation:
        headers.append((b"degraded", export.degradation.dependency.encode()))
    return headers


def _export_view(export: Export) -> ExportView:
    view: ExportView = {
        "id": export.id,
        "state": export.state.value,
        "dataset": export.spec.dataset,
        "format": export.spec.format,
        "encrypted": export.spec.encrypted,
        "engine": export.engine.value if export.engine else None,
        "rows": export.file.rows if export.file else None,
        "rows_done": export.rows_done,
        "rows_total": export.rows_total,
        "size_bytes": export.file.size_bytes if export.file else None,
        "sha256": export.file.sha256 if export.file else None,
        "created_at": rfc3339_of(export.created_at),
        "finished_at": rfc3339_of(export.finished_at),
    }
    if export.file is not None and (document := export.file.document) is not None:
        view["document"] = {
            "template": document.template,
            "version": document.version,
            "template_sha256": document.sha256,
        }
    if export.degradation:
        view["degraded"] = {
            "dependency": export.degradation.dependency,
            "fallback": "local",
            "missing": list(export.degradation.missing),
            "reason": export.degradation.reason,
            "follow_up": export.follow_up or "",
        }
        if export.degradation.as_of:
            view["degraded"]["as_of"] = rfc3339_of(export.degradation.as_of)
    if export.supersedes:
        view["supersedes"] = export.supersedes
    if export.superseded_by:
        view["superseded_by"] = export.superseded_by
    if export.failure_code:
        view["failure"] = {"code": export.failure_code, "detail": export.failure or ""}
    return view
