"""What a notify process can speak with, from its settings and files of secrets."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from breakwater.chassis.service import Service
from breakwater.chassis.settings import MisconfiguredError
from breakwater.local.state import State
from breakwater.local.topology import automatic_ports, process_program
from services.notify.channels.domain import Binding
from services.notify.digests.domain import Text
from services.notify.escalation.domain import Outcome
from services.notify.escalation.usecases import Parcel
from services.notify.main import ways_of
from services.notify.settings import NotifySettings
from tests.support.postbox import postbox
from tests.support.providers import KEY, SECRET, stub_of

POLICIES = Path(__file__).parents[3] / "services/notify/policies.yaml"


@pytest.fixture
def robots(tmp_path):
    """`robots(**{"wecom.default.key": KEY})`: a folder of secrets."""

    def make(mode=0o600, **secrets):
        folder = tmp_path / "robots"
        folder.mkdir()
        for name, secret in secrets.items():
            (folder / name).write_text(secret)
            (folder / name).chmod(mode)
        return folder

    return make


def service(**settings):
    """A notify process that may reach the loopback address."""
    given = NotifySettings(environment="development", egress_private="127.0.0.0/8", **settings)
    return Service("notify", given, policies=POLICIES)


async def test_a_process_speaks_by_every_robot_of_its_folder_and_by_mail(robots):
    """Two robots, one that signs, and a mail server; each is an edge with a circuit of its own."""
    folder = robots(**{"wecom.default.key": KEY, "feishu.east.key": KEY, "feishu.east.secret": SECRET})
    async with stub_of("wecom") as wecom, stub_of("feishu") as feishu, postbox() as box:
        told = {
            "http_bases": f"wecom={wecom.base},feishu={feishu.base}",
            "robots_folder": folder,
            "smtp_server": f"127.0.0.1:{box.port}",
            "smtp_tls": "none",
            "mail_from": "crm@example.com",
        }
        feishu._now_s = datetime.now(UTC).timestamp()
        async with service(**told) as process:
            ways = ways_of(process)
            assert ways.names == {"wecom:default", "feishu:east", "email"}
            for binding in (
                Binding("wecom", "anna", "default"),
                Binding("feishu", "anna", "east"),
                Binding("email", "anna@example.com"),
            ):
                parcel = Parcel("0198", binding, Text("提醒", "您好"), datetime.now(UTC) + timedelta(minutes=1))
                assert (await ways.send(parcel)).outcome is Outcome.DELIVERED, binding.channel
            assert {"wecom", "feishu", "smtp"} <= {each.dependency for each in process.policies.snapshots()}
        assert len(wecom.taken) == len(feishu.taken) == len(box.taken) == 1


async def test_without_robots_and_a_sender_the_inbox_is_the_only_channel():
    """A provider's base alone is for probes."""
    async with service(http_bases="wecom=http://127.0.0.1:1") as process:
        assert ways_of(process).names == frozenset()


@pytest.mark.parametrize(
    ("secrets", "mode"),
    [
        ({"fax.default.key": KEY}, 0o600),
        ({"wecom.default.key": "a key/../x"}, 0o600),
        ({"wecom.default.key": KEY}, 0o644),
    ],
    ids=["no provider", "no key", "open to everybody"],
)
async def test_a_robot_that_cannot_speak_keeps_the_process_from_starting(robots, secrets, mode):
    """In words that name the file and not the secret."""
    async with service(http_bases="wecom=http://127.0.0.1:1", robots_folder=robots(mode, **secrets)) as process:
        with pytest.raises(MisconfiguredError) as refused:
            ways_of(process)
    assert KEY not in str(refused.value)


def test_the_local_platform_tells_notify_of_robots_only_where_there_are_some(tmp_path, monkeypatch):
    """A base that ops was given for its alarms makes no edge of notify's."""
    monkeypatch.setenv("BREAKWATER_HTTP_BASES", "wecom=http://127.0.0.1:1")

    def told():
        program = process_program("notify", State(tmp_path), automatic_ports(), 0)
        return {name for name in program.env if "ROBOTS" in name or "HTTP_BASES" in name}

    assert told() == set()
    monkeypatch.setenv("BREAKWATER_ROBOTS_FOLDER", "/robots")
    assert told() == {"BREAKWATER_ROBOTS_FOLDER", "BREAKWATER_HTTP_BASES"}
