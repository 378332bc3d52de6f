"""Kept datasets: whole or not at all, and to each requester no more than leads would have shown."""

import asyncio
from datetime import timedelta

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import PermissionDeniedError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.exports.domain import Column, ColumnKind, Export, ExportState, Spec
from services.gateway.exports.engine import Head
from services.gateway.exports.snapshots import KeptRows, Person, SnapshotLimits, Snapshots

pytestmark = pytest.mark.capability(37, 39)
BASE = tuple(Column(name, name.upper(), ColumnKind.TEXT) for name in ("id", "name", "source"))
FULL = (*BASE, *(Column(name, name.upper(), ColumnKind.TEXT) for name in ("need", "owner_id", "stage")))
LEADS = [
    ["1", "甲", "web", "ann", "new"],
    ["2", "乙\n", "ad", "bob", "won"],
    ["3", "丙", "web", "cem", "new"],
    ["4", "丁", "web", "", "new"],
]
"""Base columns, owner_id, stage."""
PEOPLE = (
    Person("ann", "north", ""),
    Person("bob", "north", "eve"),
    Person("cem", "south", "eve"),
    Person("eve", "", ""),
)
OUT = UnavailableError("leads is out", dependency="leads")


class FakeLeads:
    """leads, asked for everything and for one export's rows; `out` is raised, after `breaks_after` chunks where given."""

    def __init__(self):
        self.out = None
        self.breaks_after = None
        self.chunks = [b"".join("\x1f".join(row).encode() + b"\x1e" for row in LEADS)]

    def reach(self):
        if self.out is not None and self.breaks_after is None:
            raise self.out

    async def shape(self, dataset):
        self.reach()
        return BASE, FULL

    async def people(self):
        return PEOPLE

    async def rows(self, dataset, fields):
        assert fields == ["id", "name", "source", "owner_id", "stage"]
        for number, chunk in enumerate(self.chunks):
            if number == self.breaks_after:
                raise self.out
            yield chunk

    async def columns(self, export):
        self.reach()
        return FULL

    async def base_rows(self, export):
        self.reach()
        yield Head(BASE)
        yield [["live", "row", "x"]]
        if self.breaks_after is not None:
            raise self.out


class Desk:
    """All of it together."""

    def __init__(self, folder):
        self.clock = VirtualClock()
        self.leads = FakeLeads()
        limits = SnapshotLimits(every_s=900.0, retry_s=15.0, age_s_max=86_400.0, size_bytes_max=1_000)
        self.folder = folder
        self.snapshots = Snapshots(self.leads, folder, self.clock, limits)
        self.rows = KeptRows(self.leads, self.snapshots)

    async def read(self, actor, **filter_):
        """The head and the first cells of the rows of an export of leads."""
        spec = Spec("leads", "csv", (), filter_)
        export = Export("a", "a", actor, spec, ExportState.QUEUED, self.clock.now())
        head, *chunks = [each async for each in self.rows.base_rows(export)]
        return head, [row[0] for chunk in chunks for row in chunk]

    def kept(self):
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "snapshots")


def actor(sub="ann", scope=Scope.ALL):
    return Actor(sub, Role.SALES, scope)


async def test_while_leads_answers_its_rows_are_taken(desk):
    """A kept row is never shown in place of a live one."""
    await desk.snapshots.keep("leads")
    head, rows = await desk.read(actor())
    assert (head.as_of, rows) == (None, ["live"])


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        (actor(), ["1", "2", "3", "4"]),
        (actor("ann", Scope.OWN), ["1"]),
        (actor("ann", Scope.TEAM), ["1", "2"]),
        (actor("eve", Scope.TEAM), ["2", "3"]),
        (actor("somebody", Scope.OWN), []),
        (actor("somebody", Scope.TEAM), []),
    ],
)
async def test_of_a_snapshot_each_sees_what_leads_would_have_shown(desk, who, seen):
    """All, their own, or their team's and their reports': what nobody owns is for scope all."""
    await desk.snapshots.keep("leads")
    at = desk.clock.now()
    await desk.clock.advance(60)
    desk.leads.out = OUT
    head, rows = await desk.read(who)
    assert (head.columns, head.as_of, rows) == (BASE, at, seen)


async def test_filters_hold_in_a_snapshot_too(desk):
    """By stage, owner and source, together."""
    await desk.snapshots.keep("leads")
    desk.leads.out = OUT
    assert (await desk.read(actor(), stage="new", source="web"))[1] == ["1", "3", "4"]
    assert (await desk.read(actor(), owner_id="bob"))[1] == ["2"]


async def test_without_a_snapshot_or_with_an_old_one_leads_is_out(desk):
    """Nothing is made up, and yesterday's rows are not passed off as today's."""
    desk.leads.out = OUT
    with pytest.raises(UnavailableError):
        await desk.read(actor())
    desk.leads.out = None
    await desk.snapshots.keep("leads")
    desk.leads.out = OUT
    await desk.clock.advance(86_401)
    with pytest.raises(UnavailableError):
        await desk.read(actor())


async def test_what_leads_refuses_is_not_taken_from_a_snapshot(desk):
    """A refusal is an answer; so is a stream that broke off after its first rows, which is tried again."""
    await desk.snapshots.keep("leads")
    desk.leads.out = PermissionDeniedError("not for you")
    with pytest.raises(PermissionDeniedError):
        await desk.read(actor())
    desk.leads.out, desk.leads.breaks_after = OUT, 1
    with pytest.raises(UnavailableError):
        await desk.read(actor())


async def test_a_snapshot_that_breaks_off_or_grows_too_large_leaves_the_one_before(desk):
    """Never half of one; and what is kept is for us alone."""
    await desk.snapshots.keep("leads")
    before = (desk.folder / "leads").read_bytes()
    desk.leads.chunks = [b"9\x1fX\x1fweb\x1fann\x1fnew\x1e"] * 2
    desk.leads.out, desk.leads.breaks_after = OUT, 1
    with pytest.raises(UnavailableError):
        await desk.snapshots.keep("leads")
    desk.leads.out = desk.leads.breaks_after = None
    desk.leads.chunks = [b"x" * 2_000]
    await desk.snapshots.keep("leads")
    assert ((desk.folder / "leads").read_bytes(), desk.kept()) == (before, ["leads"])
    assert ((desk.folder / "leads").stat().st_mode & 0o777, desk.folder.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_what_could_not_be_read_is_read_soon_after(desk):
    """leads may start after the gateway; after that every quarter of an hour."""
    desk.leads.out = OUT
    running = asyncio.create_task(desk.snapshots.run())
    await desk.clock.advance(1)
    assert desk.snapshots.of("leads") is None
    desk.leads.out = None
    await desk.clock.advance(15)
    first = desk.snapshots.of("leads").as_of
    await desk.clock.advance(880)
    assert desk.snapshots.of("leads").as_of == first
    await desk.clock.advance(30)
    assert desk.snapshots.of("leads").as_of - first == timedelta(seconds=900)
    running.cancel()
    await asyncio.wait({running})
