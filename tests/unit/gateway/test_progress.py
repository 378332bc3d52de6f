"""How far an export is, told as it changes, against a clock turned by hand."""

import asyncio
import json
from dataclasses import replace

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.exports.domain import Export, ExportState, Spec
from services.gateway.http.progress import BEAT_S, STREAM_S_MAX, progress_events

pytestmark = pytest.mark.capability(36, 37)


class Watched:
    """A stream of progress, the export it is about, and what came so far."""

    def __init__(self):
        self.clock = VirtualClock()
        actor, spec = Actor("1001", Role.SALES, Scope.OWN), Spec("leads", "xlsx", (), {})
        self.export = Export("a", "a", actor, spec, ExportState.QUEUED, self.clock.now())
        self.serving = True
        self.came = []
        self.task = asyncio.create_task(self._read())

    async def change(self, after_s, **changes):
        self.export = replace(self.export, **changes)
        await self.clock.advance(after_s)

    @property
    def told(self):
        return [json.loads(each.partition(b"data: ")[2]) for each in self.came if each.startswith(b"event: progress\n")]

    async def _look(self):
        return self.export

    async def _read(self):
        async for event in progress_events(self.export, self._look, self.clock, lambda: self.serving):
            self.came.append(event)


@pytest.fixture
async def watched():
    made = Watched()
    await made.clock.advance(0)
    yield made
    made.task.cancel()
    await asyncio.wait({made.task})


async def test_progress_is_told_when_it_changes_until_the_end(watched):
    """Rows, percent and the time that is left at the pace seen so far; nothing is said twice."""
    await watched.change(10, state=ExportState.RUNNING, rows_total=1_000)
    await watched.change(0.5, rows_done=210)
    await watched.change(5, rows_done=500)
    await watched.change(1, rows_done=1_000, state=ExportState.COMPLETED)
    assert watched.task.done()
    seen = [(each["state"], each["rows_done"], each["percent"]) for each in watched.told]
    assert seen[:3] == [("queued", 0, None), ("running", 0, 0), ("running", 210, 21)]
    assert seen[-1] == ("completed", 1_000, 100)
    first = next(each for each in watched.told if each["rows_done"] == 210)
    assert first["time_left_s"] == pytest.approx(790 / (210 / 10.5), abs=0.1)
    assert watched.told[-1]["time_left_s"] is None
    assert len(watched.came) == len(set(watched.came))


async def test_a_quiet_progress_says_that_it_is_alive(watched):
    """Whoever left is noticed when something is sent."""
    await watched.change(3 * BEAT_S + 1)
    assert [each for each in watched.came if each.startswith(b":")] == [b": waiting\n\n"] * 3


async def test_an_open_progress_holds_no_drain(watched):
    """It ends within a look; the waiter asks another replica."""
    watched.serving = False
    await watched.change(1)
    assert watched.task.done()


async def test_a_progress_has_an_end_whatever_happens(watched):
    """An export that waits for days is not watched by one connection."""
    await watched.change(STREAM_S_MAX - 1)
    assert not watched.task.done()
    await watched.change(2)
    assert watched.task.done()
