"""The embedded nats-server: durable, closed, one user a service."""

from pathlib import Path

import nats
import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from breakwater.local.nats import OPERATOR, NatsServer


@pytest.fixture
async def connect(nats_server):
    """`connection = await connect("leads")`; closed after the test."""
    open_connections = []

    async def as_user(user, **options):
        connection = await nats.connect(
            nats_server.url,
            user=user,
            password=nats_server.password(user),
            inbox_prefix=f"_INBOX_{user}".encode(),
            allow_reconnect=False,
            **options,
        )
        open_connections.append(connection)
        return connection

    yield as_user
    for connection in open_connections:
        await connection.close()


async def test_a_message_acknowledged_survives_a_kill(tmp_path):
    """Every acknowledgement follows the sync to disk: a killed server has the message when it is back."""
    server = NatsServer(tmp_path / "nats", secrets=tmp_path / "secrets", log_file=tmp_path / "log")
    server.start()
    first = await nats.connect(server.url, user=OPERATOR, password=server.password(OPERATOR), allow_reconnect=False)
    await first.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await first.jetstream().publish("kept", b"7")
    server.kill()
    await first.close()
    server.start()
    second = await nats.connect(server.url, user=OPERATOR, password=server.password(OPERATOR))
    assert (await second.jetstream().get_msg("KEPT", 1)).data == b"7"
    await second.close()
    server.close()


async def test_nobody_connects_without_a_password(nats_server):
    """No anonymous user, and no default one."""
    for credentials in ({}, {"user": "leads", "password": "leads"}):
        client = nats.NATS()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await client.connect(nats_server.url, allow_reconnect=False, **credentials)
        await client.close()


async def test_events_go_from_their_owner_to_a_durable_consumer(clean_nats, connect):
    """What the permission table grants is enough for a stream, a publish, a pull and an acknowledgement."""
    leads, notify = await connect("leads"), await connect("notify")
    await leads.jetstream().add_stream(name="LEADS", subjects=["breakwater.leads.v1.*"])
    await leads.jetstream().publish("breakwater.leads.v1.LeadAssigned", b"x")
    consumer = await notify.jetstream().pull_subscribe("breakwater.leads.v1.*", durable="notify", stream="LEADS")
    (message,) = await consumer.fetch(1, timeout=2)
    await message.ack_sync(timeout=2)
    assert message.data == b"x"


async def test_overrides_are_written_by_ops_and_watched_by_all(clean_nats, connect):
    """The key-value bucket: ops sets, a service watches, and cannot set."""
    ops, leads = await connect("ops"), await connect("leads")
    bucket = await ops.jetstream().create_key_value(bucket="overrides")
    await bucket.put("files", b"forced-open")
    seen = await leads.jetstream().key_value("overrides")
    watcher = await seen.watchall()
    # nats-py says "that was all for now" by None, and may say so first.
    updates = [await watcher.updates(timeout=2) for _ in range(2)]
    assert [update.value for update in updates if update] == [b"forced-open"]
    with pytest.raises((NatsTimeoutError, NoRespondersError)):
        await leads.jetstream().publish("$KV.overrides.files", b"", timeout=0.3)


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("notify", "breakwater.leads.v1.LeadAssigned"),
        ("leads", "breakwater.edges.gateway"),
        ("health", "$JS.API.STREAM.DELETE.LEADS"),
        ("health", "$JS.API.STREAM.PURGE.LEADS"),
        ("health", "$JS.API.CONSUMER.DELETE.LEADS.notify"),
        ("files", "breakwater.dead.leads.LeadAssigned"),
    ],
)
async def test_a_service_cannot_speak_for_another(connect, eventually, user, subject):
    """A publish on a subject that is not its own is denied, and the server says so."""
    denials = []

    async def deny(error):
        denials.append(str(error))

    connection = await connect(user, error_cb=deny)
    await connection.publish(subject, b"")
    await connection.flush()
    await eventually(lambda: any("permissions violation" in denial for denial in denials))


@pytest.mark.parametrize("subject", ["_INBOX_leads.>", "_INBOX.>", "breakwater.edges.*", "breakwater.>", ">"])
async def test_a_service_cannot_listen_to_what_is_not_its_own(connect, eventually, subject):
    """Neither another's inbox nor another's figures."""
    denials = []

    async def deny(error):
        denials.append(str(error))

    connection = await connect("notify", error_cb=deny)
    await connection.subscribe(subject)
    await connection.flush()
    await eventually(lambda: any("permissions violation" in denial for denial in denials))


def test_the_configuration_is_readable_by_the_server_alone(nats_server):
    """It holds passwords: mode 0600, owned by the account the server runs as."""
    status = (nats_server.directory / "data" / "nats.conf").stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_uid == Path(f"/proc/{nats_server.pid}").stat().st_uid
