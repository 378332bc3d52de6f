"""A platform that tests may break; the other end-to-end tests have one of their own."""

import asyncio
import threading

import pytest

from tests.support.platform import running
from tests.support.providers import KEY, stub_of
from tests.support.watchers import watching


@pytest.fixture(scope="session")
def group():
    """The group of on-call: a robot that speaks WeCom's format, in a thread of its own. `taken` is what it was told."""
    made, ready, over = [], threading.Event(), asyncio.Event()

    async def serve():
        async with stub_of("wecom") as stub:
            made.extend((stub, asyncio.get_running_loop()))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    stub, loop = made
    yield stub
    loop.call_soon_threadsafe(over.set)
    thread.join(30)


@pytest.fixture(scope="session")
def breakable(tmp_path_factory, group):
    """A running platform below a directory closed to others, as a clone in somebody's home is; its alarms reach `group`."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    key = closed / "robot.key"
    key.touch(mode=0o600)
    key.write_text(KEY)
    told = {
        "BREAKWATER_HTTP_BASES": f"wecom={group.base}",
        "BREAKWATER_EGRESS_PRIVATE": "127.0.0.0/8",
        "BREAKWATER_ALARM_ROBOT": "wecom",
        "BREAKWATER_ALARM_ROBOT_KEY_FILE": str(key),
    }
    with running(closed / "state", told=told) as platform:
        yield platform


@pytest.fixture(scope="session")
def watchers(breakable, tmp_path_factory):
    """Prometheus and Alertmanager beside that platform."""
    with watching(breakable, tmp_path_factory.mktemp("watchers")) as found:
        yield found
