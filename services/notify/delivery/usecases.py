"""Delivering to people's inboxes, and reading them. A person counts as notified when the notification is committed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from services.notify.delivery.domain import (
    BODY_CHARS_MAX,
    DEDUP_KEY_CHARS_MAX,
    TITLE_CHARS_MAX,
    Message,
    Notification,
    OutgoingState,
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """What this service knows of a person, from `PersonChanged`: enough to say who sees whose inbox."""

    person_id: str
    name: str
    team_id: str
    supervisor_id: str
    active: bool
    email: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """Narrows a list; empty fields do not."""

    recipient_id: str = ""
    kind: str = ""
    unread_only: bool = False
    subject: str = ""
    text: str = ""
    """Words of title or body."""
    batch: str = ""
    state: str = ""
    """Of its way beyond the inbox: an `OutgoingState`."""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first; `next_cursor` is opaque and empty on the last page."""

    items: tuple[Notification, ...]
    next_cursor: str


class Inboxes(Protocol):
    """Where notifications are kept. `visible_to` is None for everybody's, else a person's or a team's view."""

    async def add(self, messages: Sequence[Message], now: datetime) -> list[tuple[Notification, bool]]:
        """Stores each message once by its dedup_key, with its in-app attempt and its event; True marks a replay."""
        ...

    async def page(self, visible_to: Actor, query: Query, limit: int, cursor: str) -> Page: ...

    async def mark_read(self, visible_to: Actor, notification_id: str, now: datetime) -> Notification | None: ...

    async def resend(
        self, visible_to: Actor, notification_id: str, now: datetime
    ) -> tuple[Notification | None, bool]: ...


LIMIT_DEFAULT = 50
LIMIT_MAX = 200


@dataclass(frozen=True, slots=True)
class Delivery:
    """The verbs of this capability."""

    inboxes: Inboxes
    clock: Clock

    async def send(self, actor: Actor, message: Message) -> tuple[Notification, bool]:
        """Stores one notification for another service or an operator; a known dedup_key answers the first one.

        Raises `InvalidRequestError` naming the fields, `PermissionDeniedError` for roles that only read.
        """
        if actor.role not in {Role.SERVICE, Role.SRE, Role.ONCALL, Role.ADMIN}:
            raise PermissionDeniedError("only services and operators send notifications")
        _check(message)
        [(notification, replayed)] = await self.inboxes.add([message], self.clock.now())
        return notification, replayed

    async def list(self, actor: Actor, query: Query, limit: int, cursor: str) -> Page:
        """The notifications `actor` may see, newest first. Raises `InvalidRequestError` for a limit out of range."""
        if not 0 <= limit <= LIMIT_MAX:
            raise InvalidRequestError("limit is out of range", errors=[FieldError("limit", f"1 to {LIMIT_MAX}")])
        if query.state and query.state not in set(OutgoingState):
            states = ", ".join(OutgoingState)
            raise InvalidRequestError("no such state", errors=[FieldError("state", f"is one of {states}")])
        if actor.scope is Scope.OWN and query.recipient_id not in {"", actor.sub}:
            return Page((), "")
        return await self.inboxes.page(actor, query, limit or LIMIT_DEFAULT, cursor)

    async def mark_read(self, actor: Actor, notification_id: str) -> Notification:
        """The notification, read now unless it was. Raises `NotFoundError`, and `PermissionDeniedError` for somebody else's.

        That it was read is a receipt: who may look into an inbox gives none in another's name.
        """
        notification = await self.inboxes.mark_read(actor, notification_id, self.clock.now())
        if notification is None:
            raise NotFoundError("no such notification")
        if notification.recipient_id != actor.sub:
            raise PermissionDeniedError("only whom it is for says that it is read")
        return notification

    async def resend(self, actor: Actor, notification_id: str) -> Notification:
        """Sends down the whole chain again what has ended without arriving for certain.

        Raises `NotFoundError`, and `ConflictError` for what is still on its way, has arrived, or need not leave.
        """
        if actor.role not in {Role.MANAGER, Role.ONCALL, Role.SRE, Role.ADMIN}:
            raise PermissionDeniedError("only managers and operators send again")
        notification, leaves = await self.inboxes.resend(actor, notification_id, self.clock.now())
        if notification is None:
            raise NotFoundError("no such notification")
        if not leaves:
            raise ConflictError("only what has ended or is unknown can be sent again")
        return notification


def _check(message: Message) -> None:
    limits = {
        "recipient_id": (message.recipient_id, 200),
        "kind": (message.kind, 60),
        "title": (message.title, TITLE_CHARS_MAX),
        "dedup_key": (message.dedup_key, DEDUP_KEY_CHARS_MAX),
    }
    errors = [
        FieldError(field, f"1 to {chars_max} characters")
        for field, (value, chars_max) in limits.items()
        if not 1 <= len(value) <= chars_max
    ]
    if len(message.body) > BODY_CHARS_MAX:
        errors.append(FieldError("body", f"at most {BODY_CHARS_MAX} characters"))
    if errors:
        raise InvalidRequestError("the notification cannot be sent as it is", errors=errors)
