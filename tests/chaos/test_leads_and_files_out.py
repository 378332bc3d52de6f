"""files and leads are both out: the last consistent snapshot serves, and says how old it is."""

import csv
import io
from datetime import datetime

import pytest

from tests.support.platform import eventually, running

pytestmark = [pytest.mark.capability(37, 39), pytest.mark.timeout(240)]


def names_of(content):
    """The second column of a CSV file, without its title."""
    return [row[1] for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))][1:]


def made(client):
    """An export of leads once it has a file, and the names in it."""
    asked = client.post("/v1/exports", json={"dataset": "leads", "format": "csv"})
    path = f"/v1/exports/{asked.json()['id']}"

    def completed():
        export = client.get(path).json()
        return export if export["state"] == "completed" else None

    export = eventually("a file", completed, within_s=60)
    return export, names_of(client.get(f"{path}/content").content)


def test_an_export_is_served_from_the_last_snapshot(tmp_path):
    """With its age in the record; whose rows are others' sees none; the full file follows."""
    with running(tmp_path / "state") as platform:
        api = platform.api()
        api.post("/v1/leads", json={"name": "王小明", "phone": "13800138000", "source": "官网"}).raise_for_status()
        # One is taken at its start, the next a quarter of an hour later.
        platform.cli("service", "restart", "gateway")
        [kept] = eventually("a snapshot", lambda: list(platform.state.rglob("snapshots/leads")), within_s=60)
        eventually("the lead in it", lambda: "王小明" in kept.read_text(), within_s=60)
        for name in ("files", "leads"):
            platform.cli("service", "stop", name)
        export, names = made(api)
        assert (export["engine"], names) == ("local", ["王小明"])
        assert datetime.fromisoformat(export["degraded"]["as_of"]) <= datetime.fromisoformat(export["created_at"])
        assert made(platform.api(role="sales", sub="nobody", scope="own"))[1] == []
        for name in ("leads", "files"):
            platform.cli("service", "start", name)
        follow_up = f"/v1/exports/{export['degraded']['follow_up']}"
        eventually("the full file", lambda: api.get(follow_up).json()["state"] == "completed", within_s=90)
