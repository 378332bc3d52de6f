"""Exports behind a password: files up, out in every way, old, and back; never a plain file, never a password in clear."""

import io
import subprocess
import sys
import time
from pathlib import Path

import openpyxl
import pytest

from breakwater.chassis.sealing import Seals
from tests.integration.gateway.conftest import SEAL_KEY
from tests.integration.gateway.peers import Passwords
from tests.support.encrypted import decrypted

pytestmark = pytest.mark.capability(36, 37, 39)
ROOT = Path(__file__).parents[3]
PASSWORD = "密码 correct horse"
FALLBACK_S_MAX = 2.0
SLACK_S = 1.0
"""For a busy machine, on top of it."""
WANTED = {"format": "xlsx", "password": PASSWORD}


async def out_stopped(peers):
    """Nobody listens."""


async def out_hanging(peers):
    await peers.start("files")
    peers.files.hang = True


async def out_refusing(peers):
    await peers.start("files", trusts_us=False)


async def content_of(gateway, export_id):
    reply = await gateway.client.get(f"/v1/exports/{export_id}/content")
    return reply.content if reply.status_code == 200 else reply.json()


async def seals_kept(gateway):
    """How many rows still have a sealed password."""
    return await gateway.admin.fetchval("SELECT count(sealed_password) FROM gateway.exports")


async def rows_in_clear(gateway, text):
    """Rows of any table of the gateway that hold this text, bytes read as text included."""
    tables = await gateway.admin.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'gateway'")
    assert {"exports", "outbox"} <= {each["tablename"] for each in tables}
    return [
        each["tablename"]
        for each in tables
        for row in await gateway.admin.fetch(f'SELECT * FROM gateway."{each["tablename"]}"')
        if text.encode() in b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    ]


async def test_files_gets_the_password_sealed_and_by_rpc_alone(peers, start_gateway, finished, eventually):
    """Events are kept for days, so none has it; when the file is there, no row has it either."""
    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway()
    export_id = await gateway.export(**WANTED)
    await eventually(lambda: peers.files.claims)
    [claim] = peers.files.claims
    assert claim.spec.format == "encrypted-xlsx"
    assert PASSWORD.encode() not in claim.SerializeToString()
    assert Seals(SEAL_KEY).open(claim.sealed_password, export_id) == PASSWORD
    assert await seals_kept(gateway) == 1
    peers.files.finish(export_id, b"an encrypted file")
    export = await finished(gateway, export_id)
    assert (export["engine"], export["encrypted"]) == ("files", True)
    assert await content_of(gateway, export_id) == b"an encrypted file"
    assert await seals_kept(gateway) == 0
    assert await gateway.events("ExportRequested") == []
    assert len(await gateway.events("ExportDelivered")) == 1
    assert await rows_in_clear(gateway, PASSWORD) == []


async def test_a_cancelled_export_is_rid_of_its_password(peers, start_gateway, eventually):
    """With its end, however it comes."""
    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway()
    export_id = await gateway.export(**WANTED)
    await eventually(lambda: peers.files.claims)
    assert await seals_kept(gateway) == 1
    assert (await gateway.client.post(f"/v1/exports/{export_id}/cancel")).json()["state"] == "cancelled"
    assert await seals_kept(gateway) == 0


@pytest.mark.parametrize("make_out", [out_stopped, out_hanging, out_refusing])
async def test_an_encrypted_degraded_file_is_there_in_two_seconds(peers, start_gateway, finished, make_out):
    """Stopped, hanging, or rejecting our credential: encrypted as the full file will be, for which the seal is kept."""
    await peers.start("leads")
    await make_out(peers)
    gateway = await start_gateway()
    began_s = time.monotonic()
    export_id = await gateway.export(**WANTED)
    export = await finished(gateway, export_id)
    took_s = time.monotonic() - began_s
    assert (export["state"], export["engine"], export["rows"], export["encrypted"]) == (
        "completed",
        "local",
        1000,
        True,
    )
    assert (export["degraded"]["dependency"], export["degraded"]["missing"]) == ("files", ["need"])
    assert took_s < FALLBACK_S_MAX + SLACK_S, f"{took_s:.2f} s"
    book = openpyxl.load_workbook(io.BytesIO(decrypted(await content_of(gateway, export_id), PASSWORD)))
    assert [cell.value for cell in book["线索"][1001]] == ["999", "王芳999", "+8613800000999"]
    assert "降级导出" in str([*book["说明"].values])
    assert await seals_kept(gateway) == 1  # the follow-up's
    assert await rows_in_clear(gateway, PASSWORD) == []


async def test_the_full_file_follows_behind_the_same_password(peers, start_gateway, finished, eventually):
    """The follow-up hands the seal over when files is back, and no row keeps it when the file is there."""
    await peers.start("leads")
    gateway = await start_gateway()
    export_id = await gateway.export(**WANTED)
    export = await finished(gateway, export_id)
    await peers.start("files")
    await eventually(lambda: peers.files.claims, timeout_s=30)
    assert Seals(SEAL_KEY).open(peers.files.claims[-1].sealed_password, export_id) == PASSWORD
    peers.files.finish(export_id, b"everything, encrypted")
    full = await finished(gateway, export["degraded"]["follow_up"], timeout_s=30)
    assert (full["engine"], full["supersedes"], full["encrypted"]) == ("files", export_id, True)
    assert await seals_kept(gateway) == 0
    assert await rows_in_clear(gateway, PASSWORD) == []


@pytest.mark.parametrize("passwords", [Passwords.UNKNOWN, Passwords.IGNORED])
async def test_a_files_that_does_not_know_passwords_is_never_a_source_of_plain_files(
    peers, start_gateway, finished, eventually, say_ended, passwords
):
    """Whether it refuses or makes a plain file and publishes it: an encrypted lesser file, and the full one fails by name."""
    await peers.start("leads")
    await peers.start("files")
    peers.files.passwords = passwords
    gateway = await start_gateway()
    export_id = await gateway.export(**WANTED)
    await eventually(lambda: peers.files.claims)
    if passwords is Passwords.IGNORED:
        peers.files.finish(export_id, b"a plain file")
    await say_ended(peers.files.jobs[export_id])
    export = await finished(gateway, export_id)
    assert (export["engine"], export["degraded"]["reason"]) == ("local", "files does not know passwords")
    assert decrypted(await content_of(gateway, export_id), PASSWORD)
    await say_ended(peers.files.jobs[export_id])
    full = await finished(gateway, export["degraded"]["follow_up"], timeout_s=30)
    assert (full["state"], full["failure"]["code"]) == ("failed", "encryption_unsupported")
    assert (await content_of(gateway, full["id"]))["code"] == "encryption_unsupported"
    assert decrypted(await content_of(gateway, export_id), PASSWORD)
    assert await seals_kept(gateway) == 0


async def test_a_key_that_is_changed_opens_what_waits(peers, start_gateway, finished, tmp_path):
    """With the old key beside the new one, across a restart of the gateway."""
    await peers.start("leads")
    peers.leads.out = True
    first = await start_gateway()
    export_id = await first.export(**WANTED)
    await first.stop()
    peers.leads.out = False
    new_key = tmp_path / "new.key"
    new_key.write_bytes(SEAL_KEY[::-1])
    new_key.chmod(0o600)
    second = await start_gateway(seal_key_file=new_key, seal_key_previous_file=first.service.settings.seal_key_file)
    export = await finished(second, export_id, timeout_s=20)
    assert export["engine"] == "local"
    assert decrypted(await content_of(second, export_id), PASSWORD)


async def test_a_key_that_is_lost_fails_the_export_by_name(peers, start_gateway, finished, tmp_path):
    """While files is out, nobody can make it: no file rather than a plain one, and a code that says what to do."""
    await peers.start("leads")
    peers.leads.out = True
    first = await start_gateway()
    export_id = await first.export(**WANTED)
    await first.stop()
    peers.leads.out = False
    new_key = tmp_path / "new.key"
    new_key.write_bytes(SEAL_KEY[::-1])
    new_key.chmod(0o600)
    second = await start_gateway(seal_key_file=new_key)
    export = await finished(second, export_id, timeout_s=20)
    assert (export["state"], export["failure"]["code"]) == ("failed", "password_lost")
    assert await seals_kept(second) == 0
    assert list(Path(second.service.settings.export_scratch_dir, "exports").iterdir()) == []


@pytest.mark.parametrize("release", sorted(path.name for path in (ROOT / "contracts/files").iterdir()))
def test_every_released_files_refuses_the_format_of_encrypted_files_without_their_password(release):
    """Also those that do not know passwords, whose own domain is asked here: they make no plain file for want of knowing."""
    [wheel] = (ROOT / "contracts/files" / release).glob("*.whl")
    asked = "from services.files.exports.domain import Spec, problems_of; print(problems_of(Spec('leads', 'encrypted-xlsx')))"
    said = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); {asked}"],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert "FieldError(" in said.stdout, said.stdout + said.stderr
