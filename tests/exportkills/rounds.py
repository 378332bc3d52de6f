"""Exports while something is killed: what was asked for is there in the end, once, whole."""

import csv
import hashlib
import io
import os
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from python_calamine import CalamineWorkbook

from tests.support.platform import Platform, eventually

VICTIMS: Final = ("files", "encoder", "gateway", "nats", "postgres")
"""Whom kill -9 hits; an encoder is a worker process of files."""
MOMENTS: Final = ("asked", "running", "written")
"""When: the requests are acknowledged, one is in hand, rows of one are written."""
WANTED: Final = (("leads", "xlsx"), ("leads", "csv"), ("customers", "xlsx"))
WRITTEN_BYTES: Final = 64 * 1024
"""More than an encoder writes before its rows."""
ENDED_WITHIN_S: Final = 120.0
FALLBACK_S_MAX: Final = 2.0

_MULTIPLIED = """
INSERT INTO leads.leads SELECT (jsonb_populate_record(first.one, jsonb_build_object(
  'id', '0197f3a0-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 'name', '客户' || n, 'external_id', null))).*
FROM (SELECT lead AS one FROM leads.leads AS lead LIMIT 1) AS first, generate_series(1, {more}) AS n
"""


@dataclass(frozen=True)
class Round:
    """What is killed, and when."""

    victim: str
    moment: str


@dataclass
class Seen:
    """What a round found. `problems` is empty where nothing was lost, doubled, or half."""

    round: Round
    problems: list[str] = field(default_factory=list)
    engines: dict[str, int] = field(default_factory=dict)
    """Files by who made them, follow-ups included."""
    fallback_s: float | None = None
    """From asking for an export after the kill until a file of it was there; None where the surface itself was killed."""


def fill(platform: Platform, rows: int) -> None:
    """So many leads, one of them taken in as people do."""
    lead = {"name": "王小明", "phone": "13800138000", "source": "官网"}
    platform.api().post("/v1/leads", json=lead).raise_for_status()
    eventually("its events to leave", lambda: platform.unpublished() == 0)
    platform.sql(_MULTIPLIED.format(more=int(rows) - 1))


class Requester:
    """Asks for exports by keys of its own, and looks at what came of them."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._api = platform.api()
        self._ids: dict[str, tuple[str, str, str]] = {}
        """By key: the export's id, its dataset and format."""

    def run(self, round_: Round, *, spoil: Callable[[Platform, str], None] = lambda *_: None) -> Seen:
        """One round: asks, kills, waits until everything has ended, and looks at all of it.

        `spoil` is done to the job of one export before that look, so that a proof can show what the look finds.
        """
        seen = Seen(round_)
        rows = {name: self._count(name) for name in ("leads", "customers")}
        for dataset, format_ in WANTED:
            self._ask(dataset, format_)
        self._await(round_.moment)
        kill(self._platform, round_.victim)
        began_s = time.monotonic()
        self._ask("customers", "csv")
        last = list(self._ids.values())[-1][0]
        eventually("a file after the kill", lambda: self._read(last)["file"], within_s=ENDED_WITHIN_S, every_s=0.02)
        if round_.victim in {"files", "encoder"}:
            seen.fallback_s = round(time.monotonic() - began_s, 2)
        self._check(seen, rows, spoil)
        return seen

    def _ask(self, dataset: str, format_: str) -> None:
        key = str(uuid.uuid4())
        self._ids[key] = (self._post(key, dataset, format_), dataset, format_)

    def _post(self, key: str, dataset: str, format_: str) -> str:
        """Asked again, by the same key, until somebody answers."""

        def answered() -> str | None:
            body = {"dataset": dataset, "format": format_}
            answer = self._api.post("/v1/exports", json=body, headers={"Idempotency-Key": key})
            return str(answer.json()["id"]) if answer.status_code == 202 else None

        return str(eventually("an export to be taken", answered, within_s=ENDED_WITHIN_S, every_s=0.02))

    def _read(self, export_id: str) -> dict[str, Any]:
        answer = self._api.get(f"/v1/exports/{export_id}")
        export: dict[str, Any] = answer.json() if answer.status_code == 200 else {"state": "", "rows_done": 0}
        return export | {"file": export.get("sha256") is not None}

    def _await(self, moment: str) -> None:
        first = next(iter(list(self._ids.values())[-len(WANTED) :]))[0]
        if moment == "running":
            eventually("one in hand", lambda: self._read(first)["state"] in {"running", "completed"}, every_s=0.01)
        if moment == "written":
            # Progress is told once a second, and an encoder may be done by then.
            files = self._platform.pid("files")
            eventually("rows of one", lambda: max(_encoders(files).values(), default=0) > WRITTEN_BYTES, every_s=0.005)

    def _count(self, name: str) -> int:
        [row] = self._platform.sql(f"SELECT count(*) AS rows FROM leads.{name}")
        return int(row["rows"])

    def _check(self, seen: Seen, rows: dict[str, int], spoil: Callable[[Platform, str], None]) -> None:
        full: dict[str, str] = {}
        ended = {export_id: list(self._until_full(export_id)) for export_id, *_ in self._ids.values()}
        eventually("events to leave", lambda: self._platform.unpublished() == 0)
        spoil(self._platform, next(iter(ended)))
        for key, (export_id, dataset, format_) in self._ids.items():
            for export in ended[export_id]:
                if export["state"] != "completed":
                    seen.problems.append(f"{export['id']} ended as {export['state']}: {export.get('failure')}")
                    continue
                seen.engines[export["engine"]] = seen.engines.get(export["engine"], 0) + 1
                seen.problems += self._wrong(export, rows[dataset], format_)
                full[export_id] = export["id"]
            if self._post(key, dataset, format_) != export_id:
                seen.problems.append(f"{export_id}: its key made another one")
        seen.problems += self._doubled(full)
        self._ids.clear()

    def _until_full(self, export_id: str) -> Iterator[dict[str, Any]]:
        """The export once it has ended and, after a lesser file, the one that follows it."""

        def ended(name: str) -> dict[str, Any] | None:
            export = self._read(name)
            return export if export["state"] in {"completed", "failed", "cancelled"} else None

        export = eventually("an export to end", lambda: ended(export_id), within_s=ENDED_WITHIN_S)
        yield export
        if "degraded" in export:
            follow_up = export["degraded"]["follow_up"]
            yield eventually("the full file to follow", lambda: ended(follow_up), within_s=ENDED_WITHIN_S)

    def _wrong(self, export: dict[str, Any], rows: int, format_: str) -> list[str]:
        path = f"/v1/exports/{export['id']}/content"

        def content() -> httpx2.Response | None:
            answer = self._api.get(path)
            return answer if answer.status_code in {200, 404} else None

        answer = eventually("its content", content, within_s=ENDED_WITHIN_S)
        if answer.status_code != 200:
            return [f"{export['id']}: its content is gone"]
        if answer.headers["etag"] != f'"{hashlib.sha256(answer.content).hexdigest()}"':
            return [f"{export['id']}: its content is not what its hash says"]
        found = _rows_of(answer.content, format_)
        return [] if found == rows else [f"{export['id']}: {found} rows of {rows}"]

    def _doubled(self, full: dict[str, str]) -> list[str]:
        """Every job was made once, left one object, and was delivered once."""
        jobs = [uuid.UUID(each) for each in full]
        state = self._platform.sql("SELECT id, state FROM files.export_job WHERE id = ANY($1::uuid[])", jobs)
        problems = [f"job {row['id']} is {row['state']}" for row in state if row["state"] != "completed"]
        problems += [f"job {each} is lost" for each in set(jobs) - {row["id"] for row in state}]
        told = Counter(
            str(row["subject"])
            for row in self._platform.sql(
                "SELECT subject_id AS subject FROM gateway.outbox WHERE type = 'breakwater.gateway.v1.ExportDelivered'"
            )
        )
        problems += [f"{each} was delivered {told[each]} times" for each in full.values() if told[each] != 1]
        for job in full:
            folder = self._platform.state / "objects/exports" / job
            objects = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            if len(objects) != 1:
                problems.append(f"{job} left {objects}")
        return problems


def kill(platform: Platform, victim: str) -> None:
    """kill -9 of a process, or of an encoder that is at work."""
    if victim != "encoder":
        os.kill(platform.pid(victim), signal.SIGKILL)
        return
    parent = platform.pid("files")
    eventually("an encoder at work", lambda: _kill_encoder(parent), every_s=0.005)


def _kill_encoder(parent: int) -> bool:
    """The one that has written most; False when there is none, or it ended meanwhile."""
    encoders = _encoders(parent)
    try:
        if encoders:
            os.kill(max(encoders, key=encoders.__getitem__), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return bool(encoders)


def _encoders(parent: int) -> dict[int, int]:
    """Bytes that each has written."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                [written] = re.findall(r"wchar: (\d+)", (stat.parent / "io").read_text())
                found[int(stat.parent.name)] = int(written)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _rows_of(content: bytes, format_: str) -> int:
    if format_ == "csv":
        return sum(1 for _ in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))) - 1
    return len(CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()) - 1
