"""What people were told and what became of each message: `/v1/notifications`."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.notify.v1 import notify_pb2
from services.gateway.clients import Notify
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Identifier, Moment, PageQuery


class AttemptView(TypedDict):
    """One try on one channel."""

    channel: str
    state: str
    at: str | None
    detail: str | None


class NotificationView(TypedDict):
    """One message to one person, with the state of each channel attempt."""

    id: str
    recipient_id: str
    kind: str
    title: str
    body: str
    subject: str | None
    severity: str
    created_at: str | None
    read_at: str | None
    batch: str | None
    """What left together with it, such as an import."""
    state: str | None
    """Of its way beyond the inbox; null where nothing has to leave."""
    due_at: str | None
    attempts: list[AttemptView]


class NotificationPage(TypedDict):
    """Newest first."""

    items: list[NotificationView]
    next_cursor: str | None


class NotificationsQuery(PageQuery):
    """Narrows the list."""

    recipient_id: Identifier | Literal[""] = ""
    unread_only: bool = False
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z_]{0,64}$")] = ""
    subject: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{0,200}$")] = ""
    """What it is about, such as lead:0198..."""
    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)] = ""
    """Words of title or body."""
    state: Literal["", "waiting", "sending", "sent", "unknown", "ended"] = ""
    """Of its way beyond the inbox; `ended` are the dead letters."""
    batch: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{0,200}$")] = ""
    since: Moment | None = None
    until: Moment | None = None


def add_routes(api: Api, notify: Notify) -> None:
    """Adds the routes of notifications."""

    @api.route("GET", "/v1/notifications", NotificationPage, tag="notifications")
    async def list_notifications(call: Call, query: Annotated[NotificationsQuery, Query()]) -> Answer:
        """A page of the notifications the caller may see, newest first."""
        request = notify_pb2.ListNotificationsRequest(
            actor=actor_to(call.actor),
            limit=query.limit,
            cursor=query.cursor,
            recipient_id=query.recipient_id,
            unread_only=query.unread_only,
            kind=query.kind,
            subject=query.subject,
            text=query.text,
            state=query.state,
            batch=query.batch,
        )
        for field, moment in (("since", query.since), ("until", query.until)):
            if moment is not None:
                getattr(request, field).FromDatetime(moment)
        reply = await notify.channel.unary(notify.notifications.ListNotifications, request, retryable=True)
        page: NotificationPage = {
            "items": [_notification_view(each) for each in reply.notifications],
            "next_cursor": reply.next_cursor or None,
        }
        return answer(page)

    @api.route("POST", "/v1/notifications/{notification_id}/read", NotificationView, tag="notifications")
    async def mark_read(call: Call, notification_id: str) -> Answer:
        """The caller has seen it; doing it again changes nothing."""
        request = notify_pb2.MarkReadRequest(actor=actor_to(call.actor), id=notification_id)
        reply = await notify.channel.unary(notify.notifications.MarkRead, request, retryable=True)
        return answer(_notification_view(reply.notification))

    @api.route("POST", "/v1/notifications/{notification_id}/resend", NotificationView, tag="notifications")
    async def resend_notification(call: Call, notification_id: str) -> Answer:
        """Sends again what has ended or whose outcome is unknown, down the whole chain of the person's channels."""
        request = notify_pb2.ResendNotificationRequest(actor=actor_to(call.actor), id=notification_id)
        reply = await notify.channel.unary(notify.notifications.ResendNotification, request)
        return answer(_notification_view(reply.notification))


def _notification_view(notification: notify_pb2.Notification) -> NotificationView:
    return {
        "id": notification.id,
        "recipient_id": notification.recipient_id,
        "kind": notification.kind,
        "title": notification.title,
        "body": notification.body,
        "subject": notification.subject or None,
        "severity": notify_pb2.Severity.Name(notification.severity).removeprefix("SEVERITY_").lower(),
        "created_at": rfc3339(notification.created_at),
        "read_at": rfc3339(notification.read_at),
        "batch": notification.batch or None,
        "state": notification.state or None,
        "due_at": rfc3339(notification.due_at),
        "attempts": [
            {
                "channel": attempt.channel,
                "state": attempt.state,
                "at": rfc3339(attempt.at),
                "detail": attempt.detail or None,
            }
            for attempt in notification.attempts
        ],
    }
