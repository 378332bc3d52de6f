"""What an export job is, which are refused, and what becomes of one that failed (36-39). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from breakwater.chassis.errors import BreakwaterError, FieldError, RateLimitedError, UnavailableError
from breakwater.chassis.identity import Actor
from services.files.documents.domain import Stamp

DATASETS: Mapping[str, str] = {
    "leads": "线索",
    "customers": "客户",
    "assignments": "分配记录",
    "renewals": "续费提醒",
    "lead-timeliness": "线索时效看板",
    "personal-board": "个人看板",
}
"""What can be exported, and the title of its sheet."""
TIMELINESS = "lead-timeliness"
"""线索时效看板 (6): its PDF has a page of its own."""
RENEWALS = "renewals"
"""A letter to each of the requester's customers (41)."""
FILTERS: Mapping[str, frozenset[str]] = {
    "leads": frozenset({"stage", "owner_id", "source"}),
    "customers": frozenset({"owner_id"}),
    "assignments": frozenset({"stage", "owner_id", "source"}),
    TIMELINESS: frozenset({"owner_id"}),
    "personal-board": frozenset({"owner_id"}),
    RENEWALS: frozenset({"owner_id"}),
}
FILTER_TITLES: Mapping[str, str] = {"stage": "阶段", "owner_id": "负责人工号", "source": "来源"}
FIELDS_MAX = 100
REPORT_FIELDS_MAX = 12
"""Columns of a PDF: more cannot be read on a page."""
HIGHLIGHTS_MAX = 8
HIGHLIGHT_CHARACTERS_MAX = 200
OFFER_CHARACTERS_MAX = 600


class Format(StrEnum):
    """The kinds of file."""

    XLSX = "xlsx"
    CSV = "csv"
    GBK_CSV = "gbk-csv"
    """For programs that read no UTF-8."""
    PDF = "pdf"
    """A report of the rows; of renewals a ZIP with a letter for each."""
    ENCRYPTED_XLSX = "encrypted-xlsx"
    """Behind a password. A format of its own, so that a files that does not know it refuses it."""


class JobState(StrEnum):
    """The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Letter:
    """What the letters of a batch say to everybody (41). `offer_until` is an ISO 8601 date, or empty."""

    highlights: tuple[str, ...] = ()
    offer: str = ""
    offer_until: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """What to export, as it was asked for.

    `fields` empty means the dataset's default columns, its base columns in a PDF. `template_version` is that of a PDF's
    template, empty for the newest.
    """

    dataset: str
    format: str
    fields: tuple[str, ...] = ()
    filter: Mapping[str, str] = field(default_factory=dict)
    template_version: str = ""
    letter: Letter | None = None
    sealed_password: bytes | None = field(default=None, repr=False)
    """Of an encrypted file, until it is made."""

    @property
    def is_encrypted(self) -> bool:
        return self.format == Format.ENCRYPTED_XLSX


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished file in the object store. `sha256` is lower-case hexadecimal."""

    key: str
    rows: int
    size_bytes: int
    sha256: str
    document: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there will be no file."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Job:
    """One export to make. `holder` names the worker that has it; only that one may end it."""

    id: str
    actor: Actor
    spec: Spec
    state: JobState
    requested_at: datetime
    rows_done: int = 0
    rows_total: int = 0
    artifact: Artifact | None = None
    failure: Failure | None = None
    finished_at: datetime | None = None
    holder: str | None = None
    takes: int = 0
    """How often it was taken since a worker last said how it went; a worker that died said nothing."""
    failures: int = 0
    """Attempts in a row that failed because something was out."""
    defects: int = 0
    """Attempts that failed by our own fault."""
    queue_moves: bool = False
    """While it is queued: others are being made, so that its turn will come."""


@dataclass(slots=True)
class Progress:
    """How far a file is, told by whoever encodes it."""

    rows_done: int = 0
    rows_total: int = 0
    document: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file and one job may take."""

    rows_max: int = 5_000_000
    size_bytes_max: int = 2 * 1024**3
    queued_max: int = 10_000
    takes_max: int = 10
    defects_max: int = 3
    age_s_max: float = 7 * 86_400.0
    """A job that something else keeps from being made is given up after this."""
    retry_s: float = 0.5
    retry_s_max: float = 15.0
    retention_s: float = 14 * 86_400.0
    """Longer than any event can be delivered again, so that no file is made twice."""


def problems_of(spec: Spec) -> list[FieldError]:
    """What is wrong with a request, by field; nothing when it can be made."""
    problems = []
    if spec.dataset not in DATASETS:
        problems.append(FieldError("dataset", f"is one of {', '.join(DATASETS)}"))
    if spec.format not in {*Format}:
        problems.append(FieldError("format", f"is one of {', '.join(Format)}"))
    fields_max = REPORT_FIELDS_MAX if spec.format == Format.PDF else FIELDS_MAX
    if len(spec.fields) > fields_max:
        problems.append(FieldError("fields", f"are at most {fields_max}"))
    if len(set(spec.fields)) != len(spec.fields):
        problems.append(FieldError("fields", "are named once each"))
    if spec.is_encrypted != (spec.sealed_password is not None):
        problems.append(FieldError("password", f"goes with format {Format.ENCRYPTED_XLSX}, and that with a password"))
    known = FILTERS.get(spec.dataset, frozenset())
    problems += [
        FieldError(f"filter.{name}", "is no filter of this dataset") for name in spec.filter if name not in known
    ]
    return problems + _problems_of_document(spec)


def _problems_of_document(spec: Spec) -> list[FieldError]:
    # What says nothing of this kind of file is passed over: the gateway, which people ask, refuses it.
    if spec.dataset != RENEWALS:
        return []
    if spec.letter is None:
        return [FieldError("letter", f"is needed for {RENEWALS}")]
    problems = []
    if spec.format in {*Format} - {Format.PDF}:
        problems.append(FieldError("format", f"is pdf for {RENEWALS}"))
    if spec.fields:
        problems.append(FieldError("fields", "are decided by the template of a letter"))
    if len(spec.letter.highlights) > HIGHLIGHTS_MAX:
        problems.append(FieldError("letter.highlights", f"are at most {HIGHLIGHTS_MAX}"))
    if any(len(text) > HIGHLIGHT_CHARACTERS_MAX for text in spec.letter.highlights):
        problems.append(FieldError("letter.highlights", f"have at most {HIGHLIGHT_CHARACTERS_MAX} characters each"))
    if not 0 < len(spec.letter.offer) <= OFFER_CHARACTERS_MAX:
        problems.append(FieldError("letter.offer", f"has 1 to {OFFER_CHARACTERS_MAX} characters"))
    if spec.letter.offer_until and not _is_date(spec.letter.offer_until):
        problems.append(FieldError("letter.offer_until", "is a date such as 2026-12-31"))
    return problems


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def after_failure(job: Job, error: BreakwaterError, now: datetime, limits: Limits, chance: float) -> datetime | Failure:
    """When to try again, or why not to.

    What is out comes back: tried until the job is too old, at a pace that doubles up to a limit; `chance` (0 to 1)
    spreads jobs that failed together. A defect, or an encoder that was killed, is tried a
    few times. A refusal of the request itself is final.
    """
    if isinstance(error, UnavailableError | RateLimitedError):
        if (now - job.requested_at).total_seconds() >= limits.age_s_max:
            return Failure("unavailable", f"{error.dependency or 'a dependency'} did not come back in time")
        pace_s = min(limits.retry_s_max, limits.retry_s * 2.0 ** min(job.failures, 16))
        return now + timedelta(seconds=max(error.retry_after_s or 0.0, pace_s * (0.5 + chance / 2)))
    if error.status >= 500:  # noqa: PLR2004 (HTTP's own border between the caller's fault and ours)
        if job.defects + 1 >= limits.defects_max:
            return Failure("internal", "the file could not be made")
        return now + timedelta(seconds=min(limits.retry_s_max, limits.retry_s * 4.0**job.defects))
    return Failure(error.code, in_words(error.detail, error.errors))


def in_words(detail: str, problems: Sequence[FieldError]) -> str:
    """A sentence and what is wrong with each field."""
    return " ".join((detail, *(f"{problem.field} {problem.reason}." for problem in problems)))


def lost_too_often(job: Job, limits: Limits) -> Failure | None:
    """The end of a job whose workers keep dying: it must not take a process down for ever."""
    if job.takes <= limits.takes_max:
        return None
    return Failure("worker_lost", f"{job.takes - 1} workers were lost making this file")
