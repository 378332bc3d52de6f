"""The two ways of an alarm: people's inboxes by notify, and the robot of on-call's group straight from here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from breakwater.chassis import wire
from breakwater.chassis.channels import Channel
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.notify.v1 import notify_pb2 as pb
from breakwater.notify.v1.notify_pb2_grpc import NotifyServiceStub
from breakwater.resilience import Deadline
from breakwater.robots import Message, Robot
from services.gateway.ops.alarms.domain import Alarm, Occasion

if TYPE_CHECKING:
    from breakwater.notify.v1.notify_pb2_grpc import NotifyServiceAsyncStub

INBOX_S_MAX = 2.0
"""For all recipients together: then the second way has its turn."""
ROBOT_S_MAX = 5.0
_SELF = Actor("ops", Role.SERVICE, Scope.ALL)
_SEVERITIES = {
    Occasion.OPENED: pb.SEVERITY_CRITICAL,
    Occasion.RESOLVED: pb.SEVERITY_INFO,
    Occasion.NOTED: pb.SEVERITY_INFO,
}


class Inboxes:
    """notify stores one notification for each of `recipients`, once by its key, whichever replica sends it."""

    name = "notify"

    def __init__(self, channel: Channel, recipients: Sequence[str]) -> None:
        self._channel = channel
        self._stub: "NotifyServiceAsyncStub" = NotifyServiceStub(channel.grpc)  # noqa: UP037 - only the stub file knows it
        self._recipients = tuple(recipients)

    async def tell(self, alarm: Alarm) -> None:
        """Committed in every inbox."""
        deadline = Deadline.after(INBOX_S_MAX)
        for recipient in self._recipients:
            request = pb.SendNotificationRequest(
                actor=wire.actor_to(_SELF),
                recipient_id=recipient,
                kind=f"incident_{alarm.occasion}",
                title=alarm.title,
                body=alarm.text,
                subject=alarm.subject,
                severity=_SEVERITIES[alarm.occasion],
                dedup_key=f"{alarm.key}:{recipient}",
            )
            await self._channel.unary(self._stub.SendNotification, request, retryable=True, deadline=deadline)


class GroupRobot:
    """The second way: neither notify nor NATS nor PostgreSQL is needed."""

    def __init__(self, robot: Robot) -> None:
        self.name = robot.name
        self._robot = robot

    async def tell(self, alarm: Alarm) -> None:
        """The provider took it."""
        message = Message(alarm.title, alarm.text, urgent=alarm.urgent)
        await self._robot.send(message, deadline=Deadline.after(ROBOT_S_MAX))
