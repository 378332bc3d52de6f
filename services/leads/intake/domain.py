"""What a lead is when it comes in: its fields, their limits and forms, its stages.

Pure. Rules: the fields of api.md, `POST /v1/leads`; channel source (54); the stages an import brings (domain.md).
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any
from uuid import UUID

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.intake.phones import normalise_phone
from services.leads.routing.domain import Facts

LENGTHS_MAX: Mapping[str, int] = {
    "name": 200,
    "company": 200,
    "phone": 40,
    "email": 254,
    "website": 500,
    "city_code": 12,
    "region": 60,
    "industry": 60,
    "source": 60,
    "urgency": 20,
    "need": 2_000,
    "anonymous_id": 100,
    "source_status": 60,
    "external_id": 120,
    "owner_id": 60,
}
"""Characters each text field may have; more is refused by name."""

DETAILS_MAX = 40
DETAIL_NAME_CHARS_MAX = 40
DETAIL_CHARS_MAX = 500
ATTACHMENTS_MAX = 10
UTM_KEYS_MAX = 20
UTM_VALUE_CHARS_MAX = 200
BUDGET_MAX = Decimal(10) ** 13


class Stage(StrEnum):
    """Where a lead stands."""

    NEW = "new"
    CONTACTED = "contacted"
    QUALIFIED = "qualified"
    CONVERTED = "converted"
    LOST = "lost"
    CLOSED = "closed"


_FACTS = (
    *("name", "company", "phone", "email", "website", "city_code", "region", "industry", "source", "budget"),
    *("urgency", "need", "source_status", "owner_id", "anonymous_id", "external_id", "form"),
)

OPEN_STAGES = frozenset({Stage.NEW, Stage.CONTACTED, Stage.QUALIFIED})
"""Stages in which a lead needs an owner and runs timers; the others start none (domain.md, Open points)."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A photo or file, kept elsewhere (79)."""

    name: str
    reference: str
    """Where it is: an address, or an id of whoever keeps it."""
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class FormAlert:
    """Whom a form alarms of this lead (121)."""

    to: str
    """owner, supervisor, or a person's id."""
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class LeadDraft:
    """A lead as it arrives, from a form or a row of a file; `normalise` makes it fit to be captured."""

    name: str
    source: str
    company: str = ""
    phone: str = ""
    email: str = ""
    website: str = ""
    city_code: str = ""
    region: str = ""
    industry: str = ""
    budget: Decimal | None = None
    """Yuan."""
    urgency: str = ""
    need: str = ""
    utm: Mapping[str, str] = field(default_factory=dict)
    anonymous_id: str = ""
    stage: Stage = Stage.NEW
    source_status: str = ""
    """The source system's own status word."""
    external_id: str = ""
    """The record's id in the system it comes from, such as "zoho:lead:4563": the same id is the same lead."""
    owner_id: str = ""
    """The person who owned it there; a lead that is not open keeps them, an open one is routed by the rules."""
    created_at: datetime | None = None
    """When it arose in the source system; None: now."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What its growth stages unlock beside the fields above (75), by name."""
    attachments: tuple[Attachment, ...] = ()
    form: str = ""
    """The form it came by (69)."""
    alert: FormAlert | None = None
    by: str = ""
    """Who enters it by hand; empty: an import does."""
    phone_region: str = "CN"
    """Where a phone number without country code is from, ISO 3166."""
    traceparent: str | None = None
    """The trace of the request that brought it; None: the one of whoever captures it."""


_DRAFT_FIELDS = tuple(each.name for each in fields(LeadDraft))
_EMAIL = re.compile(r"[^@\s\"(),:;<>\[\\\]]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{1,62}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def clean(text: str) -> str:
    """Trimmed, full-width letters and digits made half-width, control characters gone."""
    text = text.strip()
    # What is printable and already in its normal form, nearly everything, is only looked at.
    if text.isprintable() and (text.isascii() or unicodedata.is_normalized("NFKC", text)):
        return text
    return _CONTROL.sub("", unicodedata.normalize("NFKC", text)).strip()


def is_id(text: str) -> bool:
    """Whether a text can be the id of something of ours; any other names nothing."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def money(text: str) -> Decimal | None:
    """A decimal number such as "500000", "1,200.50" or "$22,247.63"; None when blank. Raises ValueError."""
    plain = clean(text).lstrip("$¥￥").replace(",", "")
    if not plain:
        return None
    try:
        value = Decimal(plain)
    except InvalidOperation:
        raise ValueError("is not a decimal number") from None
    if not value.is_finite():
        raise ValueError("is not a decimal number")
    return value


def facts_of(draft: LeadDraft) -> Facts:
    """What routing rules may ask of a lead."""
    facts: dict[str, str | Decimal | None] = {name: getattr(draft, name) for name in _FACTS}
    for key, value in draft.utm.items():
        facts[f"utm.{key}"] = value
    for name, value in draft.details.items():
        facts[f"details.{name}"] = value
    return facts


def normalise(draft: LeadDraft) -> LeadDraft:
    """The draft with its fields in one form each; raises InvalidRequestError naming every field that is wrong."""
    return draft_of({name: getattr(draft, name) for name in _DRAFT_FIELDS})


def draft_of(values: Mapping[str, Any]) -> LeadDraft:
    """A normalised draft of fields by name, those left out blank; raises InvalidRequestError as `normalise` does.

    An import makes each of its drafts once this way: to make one, look at it and make another is a fifth of its time.
    """
    errors: list[FieldError] = []
    forms = dict(values)
    for name, given in values.items():
        if not given or name not in LENGTHS_MAX:
            continue
        text = clean(given)
        if len(text) > LENGTHS_MAX[name]:
            errors.append(FieldError(name, f"is longer than {LENGTHS_MAX[name]} characters"))
        try:
            forms[name] = _FORMS[name](text, values) if name in _FORMS else text
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    errors.extend(FieldError(name, "is mandatory") for name in ("name", "source") if not forms.get(name))
    budget = values.get("budget")
    if budget is not None and not 0 <= budget < BUDGET_MAX:
        errors.append(FieldError("budget", f"is not between 0 and {BUDGET_MAX:.0f}"))
    if values.get("utm"):
        errors.extend(_utm_errors(values["utm"]))
    if values.get("details"):
        forms["details"] = {name: clean(value) for name, value in values["details"].items() if value}
        errors.extend(_detail_errors(forms["details"]))
    if values.get("attachments"):
        errors.extend(_attachment_errors(values["attachments"]))
    if errors:
        raise InvalidRequestError("The lead has fields that cannot be taken.", errors=errors)
    return LeadDraft(**forms)


def _email(text: str, _values: Mapping[str, Any]) -> str:
    if text and not _EMAIL.fullmatch(text):
        raise ValueError("is not an e-mail address")
    return text.lower()


def _phone(text: str, values: Mapping[str, Any]) -> str:
    return normalise_phone(text, values.get("phone_region", "CN"))


_FORMS: Mapping[str, Callable[[str, Mapping[str, Any]], str]] = {"email": _email, "phone": _phone}
"""What brings a field into its one form; each raises ValueError."""


def merge(known: LeadDraft, newer: LeadDraft) -> LeadDraft:
    """The newer draft, with what it leaves blank taken from the known one: nothing is lost (53)."""
    blank = {name: value for name in _DRAFT_FIELDS if (value := getattr(known, name)) and not getattr(newer, name)}
    together = {"utm": {**known.utm, **newer.utm}, "details": {**known.details, **newer.details}}
    return replace(newer, **(blank | together))


def _detail_errors(details: Mapping[str, str]) -> list[FieldError]:
    if len(details) > DETAILS_MAX:
        return [FieldError("details", f"has more than {DETAILS_MAX} fields")]
    return [
        FieldError(name[:60], f"is longer than {DETAIL_CHARS_MAX} characters")
        for name, value in details.items()
        if len(name) > DETAIL_NAME_CHARS_MAX or len(value) > DETAIL_CHARS_MAX
    ]


def _attachment_errors(attachments: Sequence[Attachment]) -> list[FieldError]:
    if len(attachments) > ATTACHMENTS_MAX:
        return [FieldError("attachments", f"has more than {ATTACHMENTS_MAX} entries")]
    return [
        FieldError(f"attachments[{index}].{name}", f"has 1 to {most} characters")
        for index, each in enumerate(attachments)
        for name, value, least, most in (
            ("name", each.name, 1, 200),
            ("reference", each.reference, 1, 500),
            ("media_type", each.media_type, 0, 100),
        )
        if not least <= len(value) <= most
    ]


def _utm_errors(utm: Mapping[str, str]) -> list[FieldError]:
    if len(utm) > UTM_KEYS_MAX:
        return [FieldError("utm", f"has more than {UTM_KEYS_MAX} keys")]
    return [
        FieldError(f"utm.{key[:60]}", f"is longer than {UTM_VALUE_CHARS_MAX} characters")
        for key, value in utm.items()
        if len(key) > UTM_VALUE_CHARS_MAX or len(value) > UTM_VALUE_CHARS_MAX
    ]
