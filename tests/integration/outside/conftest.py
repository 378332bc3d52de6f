"""Guarded clients of dependencies that are not ours, before real local servers."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from breakwater.chassis.egress import Egress
from breakwater.chassis.http_client import HttpClient
from breakwater.chassis.mail import MailClient, MailServer
from breakwater.chassis.settings import Tls
from breakwater.resilience import Policy, PolicySettings
from tests.support.http_robot import Robot
from tests.support.http_robot import robot as running_robot
from tests.support.postbox import Postbox
from tests.support.postbox import postbox as running_postbox

DAY = timedelta(days=1)
LOOPBACK = Egress([ip_network("127.0.0.0/8")])

MakeHttp = Callable[..., HttpClient]


def policy_of(dependency: str, **settings: Any) -> Policy:
    return Policy(PolicySettings(caller="notify", dependency=dependency, **{"attempt_timeout_s": 10.0, **settings}))


@pytest.fixture
async def robot() -> AsyncIterator[Robot]:
    async with running_robot() as made:
        yield made


@pytest.fixture
async def make_http(robot: Robot) -> AsyncIterator[MakeHttp]:
    """`client = make_http(judge=..., base=..., egress=..., calls_min=...)`: policy settings are taken by name."""
    async with AsyncExitStack() as stack:

        def make(*, judge: Any = None, base: str = "", egress: Egress = LOOPBACK, limits: Any = None, **settings: Any):
            policy = policy_of("wecom", **settings)
            client = HttpClient("wecom", base or robot.base, policy, judge=judge, egress=egress, limits=limits)
            stack.push_async_callback(client.close)
            client.policy = policy
            return client

        yield make


@pytest.fixture
async def postbox() -> AsyncIterator[Postbox]:
    async with running_postbox() as made:
        yield made


@pytest.fixture
def make_mail(postbox: Postbox):
    """`mail = make_mail(calls_min=...)`: a client of the postbox; policy settings are taken by name."""

    def make(*, server: MailServer | None = None, egress: Egress = LOOPBACK, limits: Any = None, **settings: Any):
        policy = policy_of("smtp", **settings)
        mail = MailClient(
            "smtp",
            server or MailServer("127.0.0.1", postbox.port, tls=Tls.NONE),
            policy,
            egress=egress,
            limits=limits,
        )
        mail.policy = policy
        return mail

    return make


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed but itself, and its key."""
    place = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "postbox")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (place / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (place / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return place / "cert.pem", place / "key.pem"
