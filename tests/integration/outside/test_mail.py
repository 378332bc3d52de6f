"""The guarded SMTP client before a real server: who gets a message, what an answer means, what is never sent twice."""

import asyncio
import ssl
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy

import pytest
from aiosmtpd.smtp import AuthResult

from breakwater.chassis import errors
from breakwater.chassis.egress import Egress, EgressRefusedError
from breakwater.chassis.mail import MailLimits, MailServer
from breakwater.chassis.settings import Tls
from breakwater.resilience import Deadline
from breakwater.resilience.testing import no_backoff
from tests.support.faultproxy import Down, FaultProxy, Hang, Reset
from tests.support.postbox import postbox as running_postbox

SENDER = "crm@breakwater.example"
ANN, BEN, EVE = (f"{name}@example.com" for name in ("ann", "ben", "eve"))


def failures(mail) -> dict[str, int]:
    """Attempts without an answer, by kind."""
    return {kind: count for kind, count in mail.policy.snapshot().errors.items() if count}


def message(text: str = "您好") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = SENDER, ANN, "每日摘要"
    made.set_content(text)
    return made


async def test_a_message_is_handed_over_once_to_everybody(postbox, make_mail) -> None:
    """Envelope and text arrive, a recipient named twice is one, and the receipt says so."""
    receipt = await make_mail().send(message(), sender=SENDER, recipients=[ANN, BEN, ANN])
    [mail] = postbox.taken
    assert (mail.sender, mail.recipients) == (SENDER, (ANN, BEN))
    mail.text.decode("ascii")  # seven bits: every server takes it
    arrived = message_from_bytes(mail.text, policy=default_policy)
    assert (arrived["subject"], arrived.get_content().strip()) == ("每日摘要", "您好")
    assert (receipt.accepted, receipt.refused, receipt.left, receipt.done) == ((ANN, BEN), {}, (), True)


@pytest.mark.parametrize(
    ("line", "error", "attempts", "counted"),
    [
        ("421 shutting down", errors.OverloadedError, 2, {"overload": 2}),
        ("450 busy", errors.OverloadedError, 2, {"overload": 2}),
        ("452 too many", errors.OverloadedError, 2, {"overload": 2}),
        ("451 local error", errors.UnavailableError, 2, {"failed": 2}),
        ("550 no", errors.InvalidRequestError, 1, {}),
        ("554 spam", errors.InvalidRequestError, 1, {}),
        ("530 log in first", errors.DependencyAuthError, 1, {"auth": 1}),
    ],
)
async def test_4xx_is_tried_again_and_5xx_is_final(postbox, make_mail, line, error, attempts, counted) -> None:
    """The answer to the text decides: later, a fault of the server, our credential, or never."""
    postbox.to_data = lambda mail: line
    mail = make_mail(attempts_max=2)
    with no_backoff(), pytest.raises(error) as raised:
        await mail.send(message(), sender=SENDER, recipients=[ANN], retryable=True)
    assert type(raised.value) is error
    assert raised.value.dependency == "smtp"
    assert (postbox.connections, failures(mail), postbox.taken) == (attempts, counted, [])


async def test_only_those_who_are_left_are_sent_to_again(postbox, make_mail) -> None:
    """Of three recipients one is taken, one refused for good, one told later: the retry carries the last one alone."""
    answers = {ANN: [None], BEN: ["550 unknown"], EVE: ["450 greylisted", None]}
    postbox.to_recipient = lambda address: answers[address].pop(0)
    with no_backoff():
        receipt = await make_mail().send(message(), sender=SENDER, recipients=[ANN, BEN, EVE], retryable=True)
    assert postbox.addresses() == [ANN, EVE]
    assert (receipt.accepted, receipt.refused, receipt.done) == ((ANN, EVE), {BEN: 550}, True)


async def test_a_batch_with_somebody_left_is_not_done(postbox, make_mail) -> None:
    """A 4xx that stays is told in the receipt: nobody who was taken is sent to again, nobody is forgotten."""
    postbox.to_recipient = lambda address: "450 greylisted" if address == EVE else None
    mail = make_mail(attempts_max=2)
    with no_backoff():
        receipt = await mail.send(message(), sender=SENDER, recipients=[ANN, EVE], retryable=True)
    assert (receipt.accepted, receipt.left, receipt.done) == ((ANN,), (EVE,), False)
    assert postbox.addresses() == [ANN]
    with no_backoff(), pytest.raises(errors.OverloadedError):
        await mail.send(message(), sender=SENDER, recipients=[EVE], retryable=True)


async def test_everybody_refused_is_a_final_answer_and_not_a_fault(postbox, make_mail) -> None:
    """Unknown mailboxes are told one by one, and the server counts as well."""
    postbox.to_recipient = lambda address: "550 unknown"
    mail = make_mail()
    receipt = await mail.send(message(), sender=SENDER, recipients=[ANN, BEN])
    assert (receipt.accepted, receipt.refused, receipt.done) == ((), {ANN: 550, BEN: 550}, True)
    assert failures(mail) == {}


async def test_an_unknown_outcome_is_called_unknown_and_not_repeated(postbox, make_mail, eventually) -> None:
    """The connection is lost after the text went out: without `retryable` it is not sent again."""
    postbox.hang_at_data = True
    mail = make_mail()
    sending = asyncio.create_task(mail.send(message(), sender=SENDER, recipients=[ANN]))
    await eventually(lambda: postbox.connections == 1 and postbox.waiting)
    postbox.drop_connections()
    with pytest.raises(errors.UnavailableError) as raised:
        await sending
    assert raised.value.code == "outcome_unknown"
    assert postbox.connections == 1


async def test_a_deadline_bounds_a_server_that_hangs(postbox, make_mail) -> None:
    """A server that takes the text and never answers costs the caller its deadline and no more."""
    postbox.hang_at_data = True
    began_s = time.monotonic()
    with pytest.raises(errors.DeadlineExceededError):
        await make_mail().send(message(), sender=SENDER, recipients=[ANN], deadline=Deadline.after(0.4), retryable=True)
    assert 0.39 <= time.monotonic() - began_s < 5


async def test_a_dead_server_opens_the_circuit_and_comes_back(postbox, make_mail, eventually) -> None:
    """Nobody listens, connections are reset, nothing comes: the circuit opens; afterwards mail flows again by itself."""
    async with FaultProxy("127.0.0.1", postbox.port) as proxy:
        mail = make_mail(
            server=MailServer("127.0.0.1", proxy.port, tls=Tls.NONE),
            attempt_timeout_s=0.3,
            slow_call_s=0.3,
            calls_min=3,
            open_s=0.2,
            probes=1,
        )
        for fault in (Down(), Reset(), Hang()):

            async def refused() -> bool:
                with pytest.raises(errors.UnavailableError) as raised:
                    await mail.send(message(), sender=SENDER, recipients=[ANN])
                return raised.value.code == "circuit_open"

            async def sent() -> bool:
                try:
                    await mail.send(message(), sender=SENDER, recipients=[ANN])
                except errors.UnavailableError:
                    return False
                return mail.policy.snapshot().state == "closed"

            async with proxy.fault(fault):
                await eventually(refused)
            await eventually(sent)


async def test_limits_hold_before_anything_is_sent(postbox, make_mail) -> None:
    """Too large a text, too many recipients, and what is no address never reach the server."""
    mail = make_mail(limits=MailLimits(size_bytes_max=2_000, recipients_max=2))
    with pytest.raises(errors.PayloadTooLargeError):
        await mail.send(message("x" * 2_000), sender=SENDER, recipients=[ANN])
    for recipients in ([], [ANN, BEN, EVE]):
        with pytest.raises(errors.InvalidRequestError, match="1 to 2 recipients"):
            await mail.send(message(), sender=SENDER, recipients=recipients)
    for wrong in ("ann", "a@b>\r\nRCPT TO:<eve@x", "a b@x", "安@example.com", "a@b\x00"):
        with pytest.raises(errors.InvalidRequestError) as raised:
            await mail.send(message(), sender=SENDER, recipients=[wrong])
        assert raised.value.errors[0].field == "recipients"
    assert postbox.connections == 0


async def test_an_inner_mail_server_must_be_allowed(postbox, make_mail) -> None:
    """Without a network allowed by name the mail server of a private address is not called."""
    mail = make_mail(egress=Egress())
    with pytest.raises(EgressRefusedError):
        await mail.send(message(), sender=SENDER, recipients=[ANN])
    assert postbox.connections == 0


async def test_a_server_without_tls_gets_neither_login_nor_message(postbox, make_mail) -> None:
    """What is configured to be protected is not sent in the clear; that is a contract fault, never retried."""
    server = MailServer("127.0.0.1", postbox.port, tls=Tls.STARTTLS, user="crm", password="secret")
    mail = make_mail(server=server)
    with no_backoff(), pytest.raises(errors.DependencyAuthError, match="TLS"):
        await mail.send(message(), sender=SENDER, recipients=[ANN], retryable=True)
    assert (postbox.connections, failures(mail), postbox.taken) == (1, {"auth": 1}, [])
    with pytest.raises(ValueError, match="login needs TLS"):
        MailServer("127.0.0.1", 25, tls=Tls.NONE, user="crm")


async def test_a_certificate_of_somebody_else_is_refused(make_mail, certificate) -> None:
    """STARTTLS with a certificate that nobody trusts: no login, no message."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    logins: list[object] = []

    def login(server, session, envelope, mechanism, data) -> AuthResult:
        logins.append(data)
        return AuthResult(success=True)

    async with running_postbox(tls_context=context, authenticator=login) as box:
        server = MailServer("127.0.0.1", box.port, tls=Tls.STARTTLS, user="crm", password="secret")
        with pytest.raises(errors.UnavailableError):
            await make_mail(server=server).send(message(), sender=SENDER, recipients=[ANN])
        assert (box.taken, logins) == ([], [])
