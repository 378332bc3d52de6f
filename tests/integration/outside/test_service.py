"""A service opens its edges to the outside as it opens channels: by the name in its policies file."""

from email.message import EmailMessage
from typing import Any

import pytest

from breakwater.chassis import errors
from breakwater.chassis.http_client import Answer, Refusal
from breakwater.chassis.service import Service
from breakwater.chassis.settings import MisconfiguredError, ServiceSettings
from breakwater.resilience import Outcome
from tests.support.http_robot import Says

POLICIES = """
edges:
  wecom: {calls_min: 3, open_s: 30.0, open_s_max: 30.0}
  smtp: {}
  slow: {attempt_timer: false}
"""


@pytest.fixture
def notify(tmp_path, robot, postbox):
    """`notify(**settings)`: the service with its edges to robot and postbox."""
    policies = tmp_path / "policies.yaml"
    policies.write_text(POLICIES)
    password = tmp_path / "smtp.password"
    password.write_text("canary-secret")
    password.chmod(0o600)

    def make(**settings: Any) -> Service[ServiceSettings]:
        given = {
            "environment": "development",
            "http_bases": f"wecom={robot.base},slow={robot.base}",
            "smtp_server": f"127.0.0.1:{postbox.port}",
            "smtp_tls": "none",
            "egress_private": "127.0.0.0/8",
            "smtp_password_file": password,
        }
        return Service("notify", ServiceSettings(**given | settings), policies=policies)

    return make


async def test_both_edges_are_guarded_and_shown(notify, robot, postbox) -> None:
    """A robot's refusal opens the circuit of its edge alone; mail goes on, and both edges have figures."""
    robot.says(Says(200, b"busy"))

    def judge(answer: Answer) -> Refusal | None:
        return Refusal(Outcome.FAILURE, "busy") if answer.content == b"busy" else None

    async with notify() as service:
        wecom, mail = service.http("wecom", judge=judge), service.smtp()
        for _ in range(3):
            with pytest.raises(errors.UnavailableError, match="busy"):
                await wecom.request("POST", "/cgi-bin/webhook/send")
        with pytest.raises(errors.UnavailableError) as raised:
            await wecom.request("POST", "/cgi-bin/webhook/send")
        assert (raised.value.code, raised.value.dependency) == ("circuit_open", "wecom")
        message = EmailMessage()
        message.set_content("hello")
        await mail.send(message, sender="a@b.example", recipients=["c@d.example"])
        shown = {each.dependency: each for each in service.policies.snapshots()}
    assert shown["wecom"].state == "open"
    assert (shown["smtp"].state, shown["smtp"].availability) == ("closed", 1.0)
    assert len(postbox.taken) == 1
    assert robot.heard[0].headers["user-agent"] == "breakwater-notify"


async def test_what_cannot_be_guarded_stops_the_start(notify) -> None:
    """An edge without a policy, a base, a timer, TLS in production, or with a login in the clear is told, not opened."""
    async with notify(smtp_user="crm") as service:
        for name in ("feishu", "smtp"):
            with pytest.raises(MisconfiguredError, match="HTTP_BASES names no"):
                service.http(name)
        with pytest.raises(MisconfiguredError, match="attempt_timer"):
            service.http("slow")
        with pytest.raises(MisconfiguredError, match="login needs TLS") as raised:
            service.smtp()
        assert "canary-secret" not in str(raised.value)
    async with notify() as service:
        with pytest.raises(MisconfiguredError, match="no edge to 'mail'"):
            service.smtp("mail")
    async with notify(environment="production", smtp_server=None) as service:
        with pytest.raises(MisconfiguredError, match="https in production"):
            service.http("wecom")
        with pytest.raises(MisconfiguredError, match="SMTP_SERVER is missing"):
            service.smtp()
