"""`files` hangs: it is there, takes connections and answers nothing. Exports go on, late for nobody, lost for nobody."""

import io
import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openpyxl
import pytest

from tests.support.encrypted import decrypted
from tests.support.leaks import places_of
from tests.support.platform import eventually

ROWS = 150
EXPORTS = 12
DEADLINE_S = 2.0
SLACK_S = 1.0
"""For a busy machine, on top of the deadline."""


@contextmanager
def stopped(platform, name):
    """The process stands still (SIGSTOP) for the time of the block."""
    pid = platform.pid(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def timed(call):
    """What a call answered and how long it took."""
    began_s = time.monotonic()
    answer = call()
    return answer, time.monotonic() - began_s


@pytest.fixture(scope="module")
def api(platform, tmp_path_factory):
    """An HTTP client of the gateway, whose platform has some leads."""
    path = tmp_path_factory.mktemp("leads") / "leads.csv"
    rows = (f"客户{number},公司{number},1390000{number:04d},hang" for number in range(ROWS))
    path.write_text("姓名,公司,手机,来源\n" + "\n".join(rows) + "\n", encoding="utf-8")
    platform.cli("import", str(path), "--only")
    return platform.api()


@pytest.mark.timeout(240)
def test_files_hanging_makes_nobody_wait_and_loses_no_export(platform, api):
    """Each request is answered inside its deadline, each gets a degraded file; when it goes on each full file follows."""
    within = {"X-Request-Timeout": str(DEADLINE_S)}

    def ask(number):
        body = {"dataset": "leads", "format": ("csv", "xlsx")[number % 2]}
        return timed(lambda: api.post("/v1/exports", json=body, headers=within))

    def read(export_id):
        return api.get(f"/v1/exports/{export_id}", headers=within).json()

    def completed(export_id):
        export = read(export_id)
        return export if export["state"] == "completed" else None

    made_before = ask(0)[0].json()["id"]
    before = eventually("a full file", lambda: completed(made_before))
    assert (before["engine"], before["rows"] >= ROWS) == ("files", True)

    with stopped(platform, "files"):
        with ThreadPoolExecutor(4) as callers:
            asked = list(callers.map(ask, range(EXPORTS)))
        assert [answer.status_code for answer, _ in asked] == [202] * EXPORTS
        assert max(took_s for _, took_s in asked) <= DEADLINE_S + SLACK_S
        ids = [answer.json()["id"] for answer, _ in asked]
        degraded = [eventually("a degraded file", lambda each=each: completed(each)) for each in ids]
        assert {(export["engine"], export["degraded"]["dependency"]) for export in degraded} == {("local", "files")}
        assert {export["rows"] for export in degraded} == {before["rows"]}
        for export_id in ids:
            content, took_s = timed(lambda each=export_id: api.get(f"/v1/exports/{each}/content", headers=within))
            assert (content.status_code, content.headers["degraded"]) == (200, "files")
            assert took_s <= DEADLINE_S + SLACK_S
        # Only files has this one: nobody waits for it, and a lesser file stands in for it, at once or a moment later.
        first, took_s = timed(lambda: api.get(f"/v1/exports/{made_before}/content", headers=within))
        assert first.status_code == 200 or (first.status_code, first.json()["dependency"]) == (503, "files")
        assert took_s <= DEADLINE_S + SLACK_S

        def stood_in():
            return api.get(f"/v1/exports/{made_before}/content", headers=within).headers.get("degraded") == "files"

        eventually("a lesser file in its place", stood_in)

    def full(export_id):
        follower = read(export_id).get("superseded_by")
        return completed(follower) if follower else None

    followed = [eventually("the full file", lambda each=each: full(each), within_s=60) for each in (*ids, made_before)]
    assert {(export["engine"], export.get("degraded"), export["rows"]) for export in followed} == {
        ("files", None, before["rows"])
    }
    assert len({export["id"] for export in followed}) == EXPORTS + 1
    eventually("its content", lambda: api.get(f"/v1/exports/{followed[-1]['id']}/content").status_code == 200)
    # Each was made once by each engine, and nothing is left over.
    ours = [*ids, made_before]
    assert platform.sql(
        "SELECT state, count(*) AS jobs FROM files.export_job WHERE id = ANY($1::uuid[]) GROUP BY state", ours
    ) == [{"state": "completed", "jobs": EXPORTS + 1}]
    assert platform.sql(
        "SELECT state, count(*) AS exports FROM gateway.exports WHERE job_id = ANY($1::uuid[]) GROUP BY state", ours
    ) == [{"state": "completed", "exports": 2 * (EXPORTS + 1)}]


@pytest.mark.capability(36, 37, 39)
@pytest.mark.timeout(240)
def test_an_encrypted_export_outlives_a_hang_and_its_password_is_nowhere_in_clear(platform, api, tmp_path):
    """In two seconds by the fallback, in full when files goes on, and by the command: all behind one word that nothing keeps."""
    secret = uuid.uuid4().hex
    password = f"密码 {secret}"
    body = {"dataset": "leads", "format": "xlsx", "password": password}

    def completed(export_id):
        export = api.get(f"/v1/exports/{export_id}").json()
        return export if export["state"] == "completed" else None

    def cells(export_id):
        content = api.get(f"/v1/exports/{export_id}/content").content
        book = openpyxl.load_workbook(io.BytesIO(decrypted(content, password)))
        return [*book["线索"].values]

    with stopped(platform, "files"):
        began_s = time.monotonic()
        export_id = api.post("/v1/exports", json=body).json()["id"]
        degraded = eventually("an encrypted degraded file", lambda: completed(export_id))
        took_s = time.monotonic() - began_s
        assert (degraded["engine"], degraded["encrypted"], degraded["degraded"]["dependency"]) == (
            "local",
            True,
            "files",
        )
        assert took_s <= DEADLINE_S + SLACK_S
        assert len(cells(export_id)) == degraded["rows"] + 1 > ROWS
    full = eventually("the full file", lambda: completed(degraded["degraded"]["follow_up"]), within_s=90)
    assert (full["engine"], full["encrypted"], full["rows"]) == ("files", True, degraded["rows"])
    assert len(cells(full["id"])) == full["rows"] + 1

    word, target = tmp_path / "word", tmp_path / "leads.xlsx"
    word.write_text(password + "\n", encoding="utf-8")
    platform.cli("export", "leads", "-o", str(target), "--password-file", str(word))
    assert decrypted(target.read_bytes(), password)

    for schema, table in (("gateway", "exports"), ("files", "export_job")):
        assert platform.sql(f"SELECT count(sealed_password) AS kept FROM {schema}.{table}") == [{"kept": 0}]
    seen = places_of(export_id, platform)
    assert {"gateway.exports", "files.export_job"} <= seen, "what looks for the password does not even find the export"
    assert places_of(secret, platform) == set()
