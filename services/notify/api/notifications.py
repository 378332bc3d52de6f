"""Notifications over gRPC."""

from datetime import MAXYEAR
from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.notify.v1 import notify_pb2 as pb
from breakwater.notify.v1.notify_pb2_grpc import NotifyServiceServicer
from services.notify.delivery.domain import Message, Notification, OutgoingState, Severity
from services.notify.delivery.usecases import Delivery, Query
from services.notify.timestamps import moment, timestamp

_SEVERITIES = {
    Severity.INFO: pb.SEVERITY_INFO,
    Severity.WARNING: pb.SEVERITY_WARNING,
    Severity.CRITICAL: pb.SEVERITY_CRITICAL,
}
_SEVERITIES_BACK = {number: severity for severity, number in _SEVERITIES.items()}


class NotifyApi(NotifyServiceServicer):
    """`NotifyService` over the delivery use cases."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Any
    ) -> pb.ListNotificationsResponse:
        query = Query(
            recipient_id=request.recipient_id,
            kind=request.kind,
            unread_only=request.unread_only,
            subject=request.subject,
            text=request.text,
            batch=request.batch,
            state=request.state,
            since=moment(request.since) if request.HasField("since") else None,
            until=moment(request.until) if request.HasField("until") else None,
        )
        page = await self._delivery.list(wire.actor_from(request.actor), query, request.limit, request.cursor)
        return pb.ListNotificationsResponse(
            notifications=[notification_to_wire(item) for item in page.items], next_cursor=page.next_cursor
        )

    async def MarkRead(self, request: pb.MarkReadRequest, context: Any) -> pb.MarkReadResponse:
        notification = await self._delivery.mark_read(wire.actor_from(request.actor), request.id)
        return pb.MarkReadResponse(notification=notification_to_wire(notification))

    async def ResendNotification(
        self, request: pb.ResendNotificationRequest, context: Any
    ) -> pb.ResendNotificationResponse:
        notification = await self._delivery.resend(wire.actor_from(request.actor), request.id)
        return pb.ResendNotificationResponse(notification=notification_to_wire(notification))

    async def SendNotification(self, request: pb.SendNotificationRequest, context: Any) -> pb.SendNotificationResponse:
        severity = _SEVERITIES_BACK.get(request.severity)
        if severity is None:
            raise InvalidRequestError("unknown severity", errors=[FieldError("severity", "info, warning or critical")])
        message = Message(
            recipient_id=request.recipient_id,
            kind=request.kind,
            title=request.title,
            body=request.body,
            subject=request.subject,
            dedup_key=request.dedup_key,
            severity=severity,
        )
        notification, replayed = await self._delivery.send(wire.actor_from(request.actor), message)
        return pb.SendNotificationResponse(notification=notification_to_wire(notification), replayed=replayed)


def notification_to_wire(notification: Notification) -> pb.Notification:
    """The notification as the proto has it."""
    message = pb.Notification(
        id=notification.id,
        recipient_id=notification.recipient_id,
        kind=notification.kind,
        title=notification.title,
        body=notification.body,
        subject=notification.subject,
        severity=_SEVERITIES[notification.severity],
        created_at=timestamp(notification.created_at),
        attempts=[
            pb.Attempt(channel=a.channel, state=a.state.value, at=timestamp(a.at), detail=a.detail)
            for a in notification.attempts
        ],
        batch=notification.batch,
    )
    outgoing = notification.outgoing
    if outgoing is not None:
        message.state = outgoing.state.value
        # What is held for the end of an import has no time yet.
        if outgoing.state is OutgoingState.WAITING and outgoing.due_at.year < MAXYEAR:
            message.due_at.CopyFrom(timestamp(outgoing.due_at))
    if notification.read_at is not None:
        message.read_at.CopyFrom(timestamp(notification.read_at))
    return message
