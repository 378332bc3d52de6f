"""Supervision of real processes: a killed one comes back, a stopped one stays down, none outlives its launcher."""

import asyncio
import io
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from breakwater.local import supervisor as supervision
from breakwater.local.errors import LocalPlatformError, ServerStartError
from breakwater.local.logs import Console, ProcessLog
from breakwater.local.ports import free_port
from breakwater.local.programs import Program
from breakwater.local.readiness import answers_ready
from breakwater.local.supervisor import ProcessState, Spec, Supervisor

# Answers /readyz like a service, ends on SIGTERM, and says so.
SERVICE = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
def end(*_):
    print("drained", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("你好 from a service", flush=True)
server.serve_forever()
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def screen():
    """What a person sees."""
    return io.StringIO()


@pytest.fixture
async def supervisor(tmp_path, screen):
    """A supervisor with nothing to do yet; everything in it is stopped after the test."""
    console = Console(screen)
    made = Supervisor(console)
    made.log_directory = tmp_path
    yield made
    await asyncio.gather(*(process.stop(timeout_s=1) for process in made))
    console.close()


def python(source: str, *arguments: object) -> Program:
    return Program((sys.executable, "-c", source, *map(str, arguments)), {"PATH": "/usr/bin:/bin"})


def add(supervisor: Supervisor, name: str, source: str, *, port: int | None = None) -> supervision.Supervised:
    async def at_once() -> bool:
        return True

    async def asked() -> bool:
        return await answers_ready(port or 0)

    program = python(source, port or "")
    supervisor.add(Spec(name, lambda: program, asked if port else at_once), ProcessLog(supervisor.log_directory, name))
    return supervisor[name]


async def test_a_killed_process_comes_back_on_its_port(supervisor, eventually):
    """kill -9, and it is ready again under another pid, without help."""
    service = add(supervisor, "leads", SERVICE, port=free_port())
    await supervisor.start(["leads"], timeout_s=10)
    first = service.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: service.state is ProcessState.READY and service.pid != first)
    assert service.restarts == 1


async def test_a_stopped_process_stays_down_until_it_is_started(supervisor):
    """Stopping drains it and ends the supervision; starting begins anew."""
    service = add(supervisor, "files", SERVICE, port=free_port())
    await supervisor.start(["files"], timeout_s=10)
    await service.stop()
    assert service.state is ProcessState.STOPPED
    assert service.pid is None
    assert "drained" in service.log.tail(5)
    service.start()
    await service.wait_ready(10)
    assert service.restarts == 0


async def test_a_process_that_keeps_failing_is_given_up_at_the_start(supervisor, monkeypatch):
    """The start fails with the end of the process's own log, not with a time-out."""
    monkeypatch.setattr(supervision, "BACK_OFF_MIN_S", 0.01)
    add(supervisor, "health", "print('BREAKWATER_X is not a setting'); raise SystemExit(2)", port=free_port())
    with pytest.raises(ServerStartError, match="BREAKWATER_X is not a setting"):
        await supervisor.start(["health"], timeout_s=30)


async def test_back_off_doubles_up_to_its_limit(supervisor, screen, monkeypatch, eventually):
    """A process that ends at once is started ever more rarely."""
    monkeypatch.setattr(supervision, "BACK_OFF_MIN_S", 0.1)
    monkeypatch.setattr(supervision, "BACK_OFF_MAX_S", 0.2)
    service = add(supervisor, "notify", "raise SystemExit(3)")
    service.start()
    await eventually(lambda: screen.getvalue().count("again in 0.2 s") >= 2)
    assert screen.getvalue().count("ended with exit code 3; again in 0.1 s") == 1


async def test_a_process_that_ignores_the_signal_is_killed(supervisor, eventually):
    """A stop ends within its time."""
    service = add(supervisor, "leads", STUBBORN)
    service.start()
    await eventually(lambda: "up" in service.log.tail(1))
    pid = service.pid
    await service.stop(timeout_s=0.2)
    assert not Path(f"/proc/{pid}").exists()


async def test_what_a_process_started_ends_with_it(supervisor, eventually):
    """A killed process leaves no child that holds its output or its port."""
    service = add(supervisor, "gateway", PARENT)
    service.start()
    child = int(await eventually(lambda: service.log.tail(1)))
    os.kill(service.pid, signal.SIGKILL)
    await eventually(lambda: not Path(f"/proc/{child}").exists())
    await eventually(lambda: service.restarts == 1 and service.state is ProcessState.READY)


async def test_lines_are_prefixed_on_the_screen_and_kept_in_a_file(supervisor, screen, eventually, tmp_path):
    """Chinese survives; escape sequences of a process do not reach the terminal."""
    service = add(supervisor, "leads", "print('你好 \\x1b[2Jgone')")
    service.start()
    await eventually(lambda: "    leads | 你好 �[2Jgone" in screen.getvalue())
    assert "你好" in (tmp_path / "leads.log").read_text()


async def test_a_stop_between_two_starts_holds(supervisor, eventually):
    """A process that waits for its back-off does not come back after a stop."""
    service = add(supervisor, "leads", "raise SystemExit(1)")
    service.start()
    await eventually(lambda: service.state is ProcessState.WAITING)
    await service.stop()
    assert service.state is ProcessState.STOPPED


async def test_a_stop_that_meets_a_process_that_has_just_ended_returns(supervisor, eventually, monkeypatch):
    """The signal of a stop does not reap the process away from who waits for its end."""
    told, wait = threading.Event(), os.waitid

    def late(*arguments):
        told.wait(10)
        return wait(*arguments)

    monkeypatch.setattr(os, "waitid", late)
    service = add(supervisor, "leads", "raise SystemExit(0)")
    service.start()
    await eventually(lambda: service.pid and ") Z " in Path(f"/proc/{service.pid}/stat").read_text())
    stopping = asyncio.create_task(service.stop())
    await eventually(lambda: service.state is ProcessState.STOPPING)
    told.set()
    await asyncio.wait_for(stopping, timeout=5)
    assert service.state is ProcessState.STOPPED


def test_an_unknown_name_is_answered_with_the_known_ones():
    """The error names what there is."""
    console = Console(io.StringIO())
    supervisor = Supervisor(console)
    with pytest.raises(LocalPlatformError, match="There is no 'redis' here"):
        supervisor["redis"]
    console.close()


async def test_readiness_is_a_200_of_readyz_and_nothing_else():
    """An open port that says nothing, or something else, is not ready."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert await answers_ready(silent.getsockname()[1]) is False
    assert await answers_ready(free_port()) is False
