"""What speaks on each channel, and what its answer means: a verdict, never a guess.

Errors of robots arrive as HTTP 200; `breakwater.robots` reads the code in the body, SMTP's replies are read by the chassis.
"""

from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import make_msgid

from breakwater.chassis.errors import (
    BreakwaterError,
    DeadlineExceededError,
    DependencyAuthError,
    OverloadedError,
    UnavailableError,
)
from breakwater.chassis.logging import get_logger
from breakwater.chassis.mail import MailClient
from breakwater.resilience import Deadline
from breakwater.robots import Message, Robot
from services.notify.channels.domain import EMAIL, Binding
from services.notify.digests.domain import Text
from services.notify.escalation.domain import Outcome, Verdict
from services.notify.escalation.usecases import Parcel

DETAIL_CHARS_MAX = 200
SEND_S_MAX = 5.0
"""For one try on one channel: a fail-over may not take longer."""
_UNKNOWN = "outcome_unknown"
_PUSHED_BACK_S = 60.0
"""Where a provider says "later" and not when."""

_log = get_logger(__name__)


class Ways:
    """Every robot and the mail server of this deployment."""

    def __init__(self, robots: Mapping[str, Robot], mail: MailClient | None, mail_from: str) -> None:
        """`robots` by way, such as `wecom:default`; `mail_from` is the sender's address."""
        self._robots = robots
        self._mail = mail
        self._mail_from = mail_from

    @property
    def names(self) -> frozenset[str]:
        """The ways there are."""
        return frozenset(self._robots) | ({EMAIL} if self._mail is not None else frozenset())

    async def send(self, parcel: Parcel) -> Verdict:
        """One try. Raises nothing: a defect of ours is an outcome nobody knows."""
        binding = parcel.binding
        try:
            if binding.channel == EMAIL:
                return await self._by_mail(binding, parcel)
            robot = self._robots.get(binding.way)
            if robot is None:
                return Verdict(Outcome.REFUSED, f"{binding.way} is not set up here")
            await robot.send(_said(binding, parcel.text), deadline=Deadline.after(SEND_S_MAX))
        except BreakwaterError as error:
            return verdict_of(error)
        except Exception as error:  # noqa: BLE001 - a defect of ours may have come after the sending
            _log.exception("send_failed", way=binding.way)
            return Verdict(Outcome.UNKNOWN, type(error).__name__)
        return Verdict(Outcome.DELIVERED)

    async def _by_mail(self, binding: Binding, parcel: Parcel) -> Verdict:
        if self._mail is None:
            return Verdict(Outcome.REFUSED, "no mail server is set up here")
        mail = EmailMessage()
        mail["From"], mail["To"] = self._mail_from, binding.address
        mail["Subject"] = " ".join(parcel.text.title.split())
        # The same message has the same id, whoever hands it over.
        mail["Message-ID"] = make_msgid(parcel.message_id, self._mail_from.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(parcel.text.body)
        receipt = await self._mail.send(
            mail, sender=self._mail_from, recipients=[binding.address], deadline=Deadline.after(SEND_S_MAX)
        )
        if receipt.refused:
            return Verdict(Outcome.REFUSED, f"the address is refused (SMTP {next(iter(receipt.refused.values()))})")
        # A 4xx left is not done.
        return Verdict(Outcome.DELIVERED) if receipt.done else Verdict(Outcome.LATER, "not taken yet", _PUSHED_BACK_S)


def verdict_of(error: BreakwaterError) -> Verdict:
    """What a failed call says of the message."""
    detail = error.detail[:DETAIL_CHARS_MAX]
    if error.code == _UNKNOWN or isinstance(error, DeadlineExceededError):
        return Verdict(Outcome.UNKNOWN, detail)
    if isinstance(error, OverloadedError):
        return Verdict(Outcome.LATER, detail, error.retry_after_s or _PUSHED_BACK_S)
    if isinstance(error, DependencyAuthError):
        return Verdict(Outcome.BROKEN, detail)
    if isinstance(error, UnavailableError):
        return Verdict(Outcome.FAILED, detail)
    return Verdict(Outcome.REFUSED, detail)


def _said(binding: Binding, text: Text) -> Message:
    return Message(text.title, text.body, mentions=(binding.address,))
