"""Mail by SMTP, guarded by the policy of its edge. 4xx is tried again, 5xx is permanent (wire-formats.md, SMTP).

A message goes to each recipient at most once for a call that is not `retryable`: who was accepted is not sent to again, and
a connection lost after the text went out is an unknown outcome.
"""

import asyncio
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY

import aiosmtplib
from opentelemetry.trace import SpanKind

from breakwater.chassis import errors, telemetry
from breakwater.chassis.egress import Egress, EgressRefusedError
from breakwater.chassis.policies import CallFailedError, error_of
from breakwater.chassis.settings import Tls
from breakwater.resilience import Deadline, Outcome, Policy, PolicyError
from breakwater.resilience.errors import AttemptTimeoutError, OverloadedError

__all__ = ["MailClient", "MailLimits", "MailServer", "Receipt"]

# Every server takes it; 8BITMIME is an extension.
_SEVEN_BITS = SMTP_POLICY.clone(cte_type="7bit")
_ADDRESS = re.compile(r"[^\s<>\x00-\x1f\x7f@]+@[^\s<>\x00-\x1f\x7f@]+")
_COMMAND_S_MIN = 0.001
_TRANSIENT = range(400, 500)
# "Come again": the server is well. The other 4xx are faults of its own (RFC 5321, 4.2.3).
_PUSHED_BACK = frozenset({421, 450, 452})


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed over, and as whom."""

    host: str
    port: int
    tls: Tls = Tls.STARTTLS
    user: str | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError` for a login that would go in the clear."""
        if self.user is not None and self.tls is Tls.NONE:
            raise ValueError("a login needs TLS")


@dataclass(frozen=True, slots=True)
class MailLimits:
    """The limits of one message."""

    size_bytes_max: int = 24 * 1024 * 1024
    recipients_max: int = 100


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message, by recipient. Codes are SMTP's."""

    accepted: tuple[str, ...]
    refused: Mapping[str, int]
    """For good (5xx)."""
    left: tuple[str, ...]
    """Not taken yet (4xx, or the server went away): to be sent again later, to these alone."""

    @property
    def done(self) -> bool:
        """Whether every recipient has a final answer."""
        return not self.left


class _Batch:
    """The recipients of one call, over all of its attempts."""

    def __init__(self, recipients: Sequence[str]) -> None:
        self.left = list(dict.fromkeys(recipients))
        self.accepted: list[str] = []
        self.refused: dict[str, int] = {}

    @property
    def begun(self) -> bool:
        return bool(self.accepted or self.refused)

    def receipt(self) -> Receipt:
        return Receipt(tuple(self.accepted), self.refused, tuple(self.left))


class _Time:
    """What is left of an attempt. Each command is given no more than that.

    The policy cancels an attempt whose time is over, but `asyncio.wait_for`, which aiosmtplib waits by, loses a
    cancellation that comes together with an answer (CPython issue 86296, before 3.12).
    """

    def __init__(self, timeout_s: float) -> None:
        self._monotonic = asyncio.get_running_loop().time
        self._ends_s = self._monotonic() + timeout_s

    def left_s(self) -> float:
        return max(_COMMAND_S_MIN, self._ends_s - self._monotonic())


class MailClient:
    """The one way to send mail. A connection for each attempt: nothing idles, nothing is shared between messages.

    Failures are those of `chassis.errors` with `dependency` set: `UnavailableError` (with code `outcome_unknown` where the
    text had gone out), `OverloadedError` (the server says "later"), `DependencyAuthError` (login or greeting refused),
    `InvalidRequestError` (a 5xx to the message), `DeadlineExceededError`.
    """

    def __init__(
        self,
        dependency: str,
        server: MailServer,
        policy: Policy,
        *,
        egress: Egress | None = None,
        limits: MailLimits | None = None,
    ) -> None:
        """Raises `ValueError` for a policy that leaves the time to the transport."""
        if not policy.settings.attempt_timer:
            # aiosmtplib times each command, not the conversation.
            raise ValueError(f"the edge to {dependency} needs attempt_timer")
        self.dependency = dependency
        self._server = server
        self._policy = policy
        self._egress = egress or Egress()
        self._limits = limits or MailLimits()

    async def send(
        self,
        message: EmailMessage,
        *,
        sender: str,
        recipients: Sequence[str],
        retryable: bool = False,
        deadline: Deadline | None = None,
    ) -> Receipt:
        """Hands `message` over for `recipients`; the envelope decides, not the headers.

        Answers a receipt as soon as one recipient has a final answer, and raises where none has. `retryable` says that a
        message may arrive twice after an unknown outcome.
        """
        text = message.as_bytes(policy=_SEVEN_BITS)
        self._require_fit(text, sender, recipients)
        batch = _Batch(recipients)

        async def attempt(timeout_s: float) -> None:
            await self._converse(text, sender, batch, timeout_s)

        with telemetry.span("smtp send", SpanKind.CLIENT, {"server.address": self._server.host}):
            try:
                await self._policy.call(attempt, deadline=deadline, retryable=retryable)
            except (CallFailedError, PolicyError) as error:
                if batch.begun:
                    return batch.receipt()
                raise error_of(error) from error
        return batch.receipt()

    def _require_fit(self, text: bytes, sender: str, recipients: Sequence[str]) -> None:
        limits = self._limits
        if len(text) > limits.size_bytes_max:
            raise errors.PayloadTooLargeError(f"A message has at most {limits.size_bytes_max} bytes.")
        if not 1 <= len(recipients) <= limits.recipients_max:
            raise errors.InvalidRequestError(f"A message has 1 to {limits.recipients_max} recipients.")
        wrong = [
            errors.FieldError(field, "is no mail address")
            for field, address in [("sender", sender), *(("recipients", each) for each in recipients)]
            if not (address.isascii() and _ADDRESS.fullmatch(address))
        ]
        if wrong:
            raise errors.InvalidRequestError("A mail address is wrong.", errors=wrong)

    async def _converse(self, text: bytes, sender: str, batch: _Batch, timeout_s: float) -> None:
        time = _Time(timeout_s)
        speaking = False
        smtp = None
        try:
            smtp = await self._connected(time)
            await smtp.mail(sender, timeout=time.left_s())
            willing, postponed = await self._offered(smtp, batch, time)
            if willing:
                speaking = True
                await smtp.data(text, timeout=time.left_s())
                speaking = False
                batch.accepted += willing
                batch.left = [each for each in batch.left if each not in willing]
            if postponed is not None:
                raise postponed
        except EgressRefusedError as error:
            raise CallFailedError(error, Outcome.CALLER_FAULT) from error
        except aiosmtplib.SMTPResponseException as error:
            raise self._answered(error) from error
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPConnectError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise AttemptTimeoutError(
                    self._policy.settings.caller, self.dependency, f"no answer within {timeout_s} s"
                ) from error
            code = "outcome_unknown" if speaking else None
            gone = errors.UnavailableError(
                f"The connection to {self.dependency} was lost.", code=code, dependency=self.dependency
            )
            raise CallFailedError(gone, Outcome.FAILURE) from error
        except aiosmtplib.SMTPException as error:
            # No STARTTLS, no login: a contract that is not kept, and waiting does not mend it.
            raise self._auth(f"{self.dependency} does not offer the TLS or login that is configured.") from error
        finally:
            if smtp is not None:
                # Without QUIT: the answer is known, and a server that hangs now must not cost the caller a second.
                smtp.close()

    async def _connected(self, time: _Time) -> aiosmtplib.SMTP:
        server = self._server
        address = await self._egress.resolve(self.dependency, server.host, server.port)
        smtp = aiosmtplib.SMTP(
            # The name is what the certificate must be for; the address is the one that was judged.
            hostname=server.host if server.tls is not Tls.NONE else address,
            sock=await _socket_to(address, server.port),
            local_hostname=socket.gethostname(),
            use_tls=server.tls is Tls.IMPLICIT,
            start_tls=False,
            timeout=time.left_s(),
        )
        try:
            await smtp.connect()
            smtp.timeout = time.left_s()
            if server.tls is Tls.STARTTLS:
                await smtp.starttls()
            smtp.timeout = time.left_s()
            if server.user is not None:
                await smtp.login(server.user, server.password or "")
        except BaseException:
            smtp.close()
            raise
        return smtp

    async def _offered(
        self, smtp: aiosmtplib.SMTP, batch: _Batch, time: _Time
    ) -> tuple[list[str], aiosmtplib.SMTPResponseException | None]:
        """Who may be sent to now, and the answer to the last of those who may not yet."""
        willing: list[str] = []
        postponed: aiosmtplib.SMTPResponseException | None = None
        for recipient in list(batch.left):
            try:
                await smtp.rcpt(recipient, timeout=time.left_s())
            except aiosmtplib.SMTPRecipientRefused as error:
                if error.code in _TRANSIENT:
                    postponed = error
                else:
                    batch.refused[recipient] = error.code
                    batch.left.remove(recipient)
            else:
                willing.append(recipient)
        return willing, postponed

    def _answered(self, error: aiosmtplib.SMTPResponseException) -> CallFailedError | OverloadedError:
        code, caller = error.code, self._policy.settings.caller
        if code in _PUSHED_BACK:
            return OverloadedError(caller, self.dependency, f"it says later (SMTP {code})")
        if code in _TRANSIENT:
            failed = errors.UnavailableError(
                f"{self.dependency} failed (SMTP {code}).", code="dependency_failed", dependency=self.dependency
            )
            return CallFailedError(failed, Outcome.FAILURE)
        if isinstance(
            error, aiosmtplib.SMTPAuthenticationError | aiosmtplib.SMTPConnectResponseError | aiosmtplib.SMTPHeloError
        ) or code in range(530, 540):
            return self._auth(f"{self.dependency} does not accept this service's credential (SMTP {code}).")
        refused = errors.InvalidRequestError(
            f"{self.dependency} refused the message (SMTP {code}).", dependency=self.dependency
        )
        return CallFailedError(refused, Outcome.CALLER_FAULT)

    def _auth(self, detail: str) -> CallFailedError:
        return CallFailedError(errors.DependencyAuthError(detail, dependency=self.dependency), Outcome.AUTH_REJECTED)


async def _socket_to(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection
