"""What an export is and what becomes of it: pure decisions over what files was seen to do (36-39).

files makes the file; while it is out, the local engine makes a lesser one and a second export, the *follow-up*, waits
for the full file of the same job: files knows the job from the event that announced it, so nothing is asked twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from breakwater.chassis.errors import BreakwaterError, InternalError, RateLimitedError, UnavailableError
from breakwater.chassis.identity import Actor, Scope

REPORT_FIELDS_MAX = 12
"""Columns of a PDF: more cannot be read on a page."""
ENCRYPTED_XLSX = "encrypted-xlsx"
GBK_CSV = "gbk-csv"
PASSWORD_LOST = "password_lost"  # noqa: S105 (a code)
"""Of an export whose sealed password nobody here has the key for."""


class ExportState(StrEnum):
    """As callers see it; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Engine(StrEnum):
    """Who made the file."""

    FILES = "files"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Letter:
    """What the letters of a batch say to everybody (41). `offer_until` is an ISO 8601 date, or empty."""

    highlights: tuple[str, ...]
    offer: str
    offer_until: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """What is asked for.

    `fields` empty means the dataset's default columns, its base columns in a PDF. `template_version` is that of a PDF's
    template, empty for the newest. An `encrypted` file is behind a password; a CSV in `gbk` is for programs that read no UTF-8.
    """

    dataset: str
    format: str
    fields: tuple[str, ...]
    filter: Mapping[str, str]
    template_version: str = ""
    letter: Letter | None = None
    encrypted: bool = False
    gbk: bool = False

    @property
    def kind(self) -> str:
        """The format as files and the tables have it: one of its own for an encrypted workbook, and for a CSV in GBK.

        So whoever does not know of passwords, such as an older release, refuses it instead of making a plain file.
        """
        if self.gbk:
            return GBK_CSV
        return ENCRYPTED_XLSX if self.encrypted else self.format

    @staticmethod
    def format_of(kind: str) -> str:
        """The format of a file of that kind."""
        return {ENCRYPTED_XLSX: "xlsx", GBK_CSV: "csv"}.get(kind, kind)

    @property
    def rows_of(self) -> str:
        """The dataset its rows are of: letters go to customers."""
        return "customers" if self.letter is not None else self.dataset

    @property
    def local_format(self) -> str:
        """What the local engine makes in its place: PDF takes typst and fonts, which only files has; rows are rows."""
        return "xlsx" if self.format == "pdf" else self.format


@dataclass(frozen=True, slots=True)
class Degradation:
    """Why a file is a lesser one: the dependency that was out, and what it therefore lacks: columns, or `pdf`."""

    dependency: str
    reason: str
    missing: tuple[str, ...]
    as_of: datetime | None = None
    """Its rows are of that time: leads was out as well."""


@dataclass(frozen=True, slots=True)
class File:
    """A finished file. `sha256` is lower-case hexadecimal."""

    rows: int
    size_bytes: int
    sha256: str
    document: "Document | None" = None


@dataclass(frozen=True, slots=True)
class Document:
    """What a PDF was made by: with the same data it is made again to the byte. `sha256` is that of the template."""

    template: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Made:
    """What the local engine made: the file, what it lacks, and how old its rows are where they are kept ones."""

    file: File
    missing: tuple[str, ...]
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """One request for a file.

    `job_id` is the name under which files knows the work: the export's own id, or for a follow-up that of the export it
    `supersedes`. `turn` counts how often the export was taken up: only the latest taker may write, and the pace of
    looking slows with it.
    """

    id: str
    job_id: str
    requester: Actor
    spec: Spec
    state: ExportState
    created_at: datetime
    turn: int = 0
    progressed_at: datetime | None = None
    rows_done: int = 0
    rows_total: int = 0
    engine: Engine | None = None
    file: File | None = None
    degradation: Degradation | None = None
    supersedes: str | None = None
    superseded_by: str | None = None
    follow_up: str | None = None
    """The export that waits for the full file, of a degraded one."""
    sealed_password: bytes | None = field(default=None, repr=False)
    """Of an encrypted file, for as long as somebody may have to make it; sealed for `job_id`."""
    failure_code: str | None = None
    failure: str | None = None
    finished_at: datetime | None = None

    @property
    def is_follow_up(self) -> bool:
        return self.supersedes is not None

    @property
    def is_open(self) -> bool:
        return self.state in {ExportState.QUEUED, ExportState.RUNNING}

    @property
    def content_format(self) -> str:
        """What its file is: letters come together in a ZIP."""
        if self.engine is Engine.LOCAL:
            return self.spec.local_format
        return "zip" if self.spec.letter is not None else self.spec.format


class JobState(StrEnum):
    """Of a job at files (files.v1.ExportJob.state)."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as files describes it; `file` once it is completed, and whether that is, or will be, behind the password."""

    state: JobState
    rows_done: int = 0
    rows_total: int = 0
    file: File | None = None
    failure: str = ""
    failure_code: str = ""
    encrypted: bool = False
    queue_moves: bool = False
    """While it is queued: files makes others, so that its turn will come."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to look at what before doing something else. The pace doubles from `check_s` to `check_s_max`."""

    check_s: float = 0.2
    check_s_max: float = 2.0
    follow_up_check_s: float = 5.0
    follow_up_check_s_max: float = 60.0
    stalled_s: float = 30.0
    give_up_s: float = 900.0
    follow_up_give_up_s: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Complete:
    """The full file is there."""

    file: File


@dataclass(frozen=True, slots=True)
class Fail:
    """It will not be made."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Nothing to do but to ask again, `at` that time."""

    at: datetime
    job: Job | None


@dataclass(frozen=True, slots=True)
class FallBack:
    """The local engine takes over."""

    reason: str


Step = Complete | Fail | LookAgain | FallBack


class ColumnKind(StrEnum):
    """How a column's cells are read."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    DATETIME = "datetime"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dataset: its field's name, what people read above it, and its kind."""

    name: str
    title: str
    kind: ColumnKind


def after_seeing(export: Export, job: Job, now: datetime, patience: Patience) -> Step:
    """What to do when files answered: it works on it, is done, has failed, or stands still."""
    ended = _end_of(export, job)
    if ended is not None:
        return ended
    if job.state is JobState.QUEUED and job.queue_moves:
        return LookAgain(now + _pace(export, patience), job)
    still_s = (now - (export.progressed_at or export.created_at)).total_seconds()
    progressed = job.rows_done > export.rows_done
    if not export.is_follow_up and not progressed and still_s >= patience.stalled_s:
        return FallBack(f"files made no progress for {still_s:.0f} s")
    return LookAgain(now + _pace(export, patience), job)


def after_failure(export: Export, error: BreakwaterError, now: datetime, patience: Patience) -> Step:
    """What to do when files could not be asked: its own fault is bridged, the requester's is final."""
    if not isinstance(error, UnavailableError | RateLimitedError | InternalError):
        return Fail(error.code, error.detail)
    if not export.is_follow_up:
        return FallBack(_in_words(error))
    if (now - export.created_at).total_seconds() >= patience.follow_up_give_up_s:
        return Fail("unavailable", "files did not come back in time")
    return LookAgain(now + _pace(export, patience), None)


def after_local_failure(export: Export, error: BreakwaterError, now: datetime, patience: Patience) -> Fail | LookAgain:
    """What to do when the local engine failed as well: both are tried again, but not for ever."""
    if error.status not in {429, 500, 503}:
        return Fail(error.code, error.detail)
    if (now - export.created_at).total_seconds() >= patience.give_up_s:
        return Fail(error.code, error.detail)
    return LookAgain(now + _pace(export, patience), None)


def chosen_columns(wanted: tuple[str, ...], base: tuple[str, ...]) -> tuple[int, ...]:
    """Places of the base columns a lesser file shows: those asked for, in that order; all when none is among them."""
    places = {name: place for place, name in enumerate(base)}
    return tuple(places[name] for name in wanted if name in places) or tuple(range(len(base)))


def missing_of(spec: Spec, full: tuple[str, ...], made: tuple[str, ...]) -> tuple[str, ...]:
    """What the full file would have and the local engine's lacks: `pdf`, its columns."""
    form = (spec.format,) if spec.local_format != spec.format else ()
    return form + tuple(name for name in full if name not in made)


def may_read(export: Export, actor: Actor) -> bool:
    """A requester sees their own; scope `all` sees every one. What may not be seen is not found."""
    return actor.scope is Scope.ALL or actor.sub == export.requester.sub


def _end_of(export: Export, job: Job) -> Complete | Fail | FallBack | None:
    # What files does not say to be encrypted is not taken for it: a release that does not know passwords makes plain files.
    if export.spec.encrypted and not job.encrypted:
        return _without_its_password(export, "encryption_unsupported", "files does not know passwords")
    match job.state:
        case JobState.COMPLETED if job.file is not None:
            return Complete(job.file)
        case JobState.FAILED if job.failure_code == PASSWORD_LOST:
            return _without_its_password(export, PASSWORD_LOST, "files cannot open the password")
        case JobState.FAILED:
            return Fail(job.failure_code or "export_failed", job.failure or "files could not make it")
        case JobState.CANCELLED:
            return Fail("cancelled", "it was cancelled")
        case _:
            return None


def _without_its_password(export: Export, code: str, reason: str) -> Fail | FallBack:
    return Fail(code, reason) if export.is_follow_up else FallBack(reason)


def _pace(export: Export, patience: Patience) -> timedelta:
    first_s, last_s = (
        (patience.follow_up_check_s, patience.follow_up_check_s_max)
        if export.is_follow_up
        else (patience.check_s, patience.check_s_max)
    )
    return timedelta(seconds=min(last_s, first_s * 2.0 ** min(max(export.turn - 1, 0), 16)))


def _in_words(error: BreakwaterError) -> str:
    match error.code:
        case "dependency_auth":
            return "files refuses our credential"
        case "deadline_exceeded":
            return "files did not answer in time"
        case "overloaded":
            return "files is at its limit"
        case _:
            return "files is out"
