"""What a client makes of a case: a word of ours, or Apprise's yes or no."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.egress import Egress
from breakwater.chassis.http_client import HttpClient
from breakwater.chassis.mail import MailClient, MailServer
from breakwater.chassis.settings import Tls
from breakwater.resilience import Policy, PolicySettings
from breakwater.robots import FORMS, Credential, Form, Robot
from services.notify.channels.domain import Binding
from services.notify.clients import Ways
from services.notify.digests.domain import Text
from services.notify.escalation.domain import Outcome
from services.notify.escalation.usecases import Parcel
from tests.channelmatrix.cases import LATER, OK, PERMANENT, UNKNOWN, Case, never
from tests.support.http_robot import robot
from tests.support.postbox import postbox

TIMEOUT_S: Final = 0.5
KEY: Final = "0123456789abcdef0123456789abcdef"
MEANS: Final = {
    OK: {Outcome.DELIVERED},
    LATER: {Outcome.LATER, Outcome.FAILED},
    PERMANENT: {Outcome.REFUSED, Outcome.BROKEN},
    UNKNOWN: {Outcome.UNKNOWN},
}
"""The outcomes that are right."""
_LOOPBACK = Egress([ip_network("127.0.0.0/8")])


async def ours(case: Case, forms: Mapping[str, Form] = FORMS) -> Outcome:
    """One try by notify's own clients; other `forms` are planted to be found."""
    async with _served(case) as port:
        policy = Policy(PolicySettings(caller="notify", dependency=case.channel, attempt_timeout_s=TIMEOUT_S))
        robots: dict[str, Robot] = {}
        mail = client = None
        if case.channel == "email":
            mail = MailClient("smtp", MailServer("127.0.0.1", port, tls=Tls.NONE), policy, egress=_LOOPBACK)
        else:
            client = HttpClient(
                case.channel, f"http://127.0.0.1:{port}", policy, judge=forms[case.channel].judge, egress=_LOOPBACK
            )
            robots[f"{case.channel}:default"] = Robot(case.channel, client, Credential(KEY, "SEC"), SystemClock())
        address, name = ("anna@example.com", "") if case.channel == "email" else ("anna", "default")
        parcel = Parcel(
            "0198", Binding(case.channel, address, name), Text("提醒", "您好"), datetime.now(UTC) + timedelta(minutes=1)
        )
        try:
            return (await Ways(robots, mail, "crm@example.com").send(parcel)).outcome
        finally:
            if client is not None:
                await client.close()


async def apprise(case: Case) -> bool:
    """The same by Apprise, pointed at the same server; True is its success."""
    async with _served(case) as port:
        return await asyncio.to_thread(_by_apprise, case.channel, port)


def _by_apprise(channel: str, port: int) -> bool:
    # Only where the bench group is installed.
    from apprise import Apprise  # noqa: PLC0415
    from apprise.plugins.dingtalk import NotifyDingTalk  # noqa: PLC0415
    from apprise.plugins.email.base import NotifyEmail  # noqa: PLC0415
    from apprise.plugins.feishu import NotifyFeishu  # noqa: PLC0415
    from apprise.plugins.wecombot import NotifyWeComBot  # noqa: PLC0415

    base, times = f"http://127.0.0.1:{port}", f"rto={TIMEOUT_S}&cto={TIMEOUT_S}"
    plugins: dict[str, tuple[Any, str, str]] = {
        "wecom": (NotifyWeComBot, f"{base}/cgi-bin/webhook/send?key={{key}}", f"wecombot://{KEY}/?{times}"),
        "dingtalk": (NotifyDingTalk, f"{base}/robot/send?access_token={{token}}", f"dingtalk://SEC@{KEY}/?{times}"),
        "feishu": (NotifyFeishu, f"{base}/open-apis/bot/v2/hook/{{token}}/", f"feishu://{KEY}/?{times}"),
        "email": (NotifyEmail, "", f"mailto://127.0.0.1:{port}/?from=crm@example.com&to=anna@example.com&{times}"),
    }
    plugin, address, target = plugins[channel]
    if address:
        plugin.notify_url = address
    plugin.request_rate_per_sec = 0
    app = Apprise()
    if not app.add(target):
        raise ValueError(f"Apprise does not take {target}")
    return bool(app.notify(title="提醒", body="您好"))


@asynccontextmanager
async def _served(case: Case) -> AsyncIterator[int]:
    """The port of a server that behaves as the case says."""
    if case.channel == "email":
        async with postbox() as box:
            box.hang_at_data = case.trouble == "hangs"
            if case.line and case.at == "rcpt":
                box.to_recipient = lambda _: case.line
            elif case.line:
                box.to_data = lambda _: case.line
            if case.trouble == "drops":
                box.to_data = lambda _: box.drop_connections()  # type: ignore[func-returns-value]
            yield 1 if case.trouble == "closed" else box.port
        return
    async with robot() as server:
        server.answer = (lambda _: never()) if case.says is None else (lambda _: case.says)
        yield 1 if case.trouble == "closed" else server.port
