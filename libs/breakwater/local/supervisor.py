"""Keeps processes running: a killed one comes back with back-off while the rest works on, a stopped one stays down."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from breakwater.local.errors import LocalPlatformError, ServerStartError
from breakwater.local.logs import Console, ProcessLog, follow
from breakwater.local.programs import Program

BACK_OFF_MIN_S = 0.1
BACK_OFF_MAX_S = 5.0
STABLE_S = 10.0
READY_POLL_S = 0.05
STOP_TIMEOUT_S = 15.0
OUTPUT_TIMEOUT_S = 1.0
FAILURES_AT_START_MAX = 5
LOG_LINES_SHOWN = 20
EXIT_NOT_STARTED = 126


class ProcessState(StrEnum):
    """What a supervised process is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    WAITING = "waiting"
    """Ended by itself; started again after the back-off."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A process to supervise. `program` is asked for each start; `is_ready` says whether it serves."""

    name: str
    program: Callable[[], Program]
    is_ready: Callable[[], Awaitable[bool]]


class Supervised:
    """One process under supervision."""

    def __init__(self, spec: Spec, log: ProcessLog, console: Console, on_change: Callable[[], None]) -> None:
        self.name = spec.name
        self.log = log
        self.state = ProcessState.STOPPED
        self.pid: int | None = None
        self.restarts = 0
        self.since = datetime.now(UTC)
        self._spec = spec
        self._console = console
        self._on_change = on_change
        self._wanted = False
        self._changed = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Wants it running. Returns at once; `wait_ready` waits."""
        self._wanted = True
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name=f"supervise-{self.name}")

    async def wait_ready(self, timeout_s: float) -> None:
        """Returns when it serves. Raises ServerStartError, with the end of its log, when it does not in time."""
        failures_before = self.restarts
        try:
            async with asyncio.timeout(timeout_s):
                while self.state is not ProcessState.READY:
                    if self.restarts - failures_before >= FAILURES_AT_START_MAX or not self._wanted:
                        break
                    self._changed.clear()
                    await self._changed.wait()
                else:
                    return
        except TimeoutError:
            pass
        raise ServerStartError(f"{self.name} does not start. Its log ends:\n{self.log.tail(LOG_LINES_SHOWN)}")

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stops it in good order and keeps it down; kills what has not ended after `timeout_s` seconds."""
        self._wanted = False
        runner = self._runner
        if runner is None or runner.done():
            self._become(ProcessState.STOPPED)
            return
        if self._process is None:
            # Between two starts.
            runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await runner
            self._become(ProcessState.STOPPED)
            return
        self._become(ProcessState.STOPPING)
        _signal(self._process, self._spec.program().stop_signal)
        done, _ = await asyncio.wait([runner], timeout=timeout_s)
        if not done:
            self._say(f"has not ended within {timeout_s:.0f} s: killed", error=True)
            self.kill()
            await runner

    def kill(self) -> None:
        """Kills the process and what it started; it comes back unless it is stopped."""
        if self._process is not None and self._process.returncode is None:
            _kill_session(self._process.pid)

    async def _run(self) -> None:
        back_off_s = BACK_OFF_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            code = await self._run_once()
            if not self._wanted:
                break
            if loop.time() - started > STABLE_S:
                back_off_s = BACK_OFF_MIN_S
            self.restarts += 1
            self._say(f"ended with {_described(code)}; again in {back_off_s:.1f} s", error=True)
            self._become(ProcessState.WAITING)
            await asyncio.sleep(back_off_s)
            back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)
        self._become(ProcessState.STOPPED)

    async def _run_once(self) -> int:
        try:
            self._process = process = self._spec.program().spawn(subprocess.PIPE)
        except OSError as error:
            self._say(f"cannot be started: {error}", error=True)
            return EXIT_NOT_STARTED
        self.pid = process.pid
        self._become(ProcessState.STARTING)
        output, pipe = await _reader(process)
        readiness = asyncio.create_task(self._watch_readiness())
        lines = asyncio.create_task(follow(output, self.name, self.log, self._console))
        await _ended(process.pid)
        readiness.cancel()
        # What it started dies with it: a new one must find its place free. The pid is still ours, it is not reaped yet.
        _kill_session(process.pid)
        code = process.wait()
        await asyncio.wait([readiness, lines], timeout=OUTPUT_TIMEOUT_S)
        lines.cancel()
        pipe.close()
        self.log.close()
        self._process = self.pid = None
        return code

    async def _watch_readiness(self) -> None:
        while not await self._spec.is_ready():  # noqa: ASYNC110 - another process's port raises no event
            await asyncio.sleep(READY_POLL_S)
        if self.state is ProcessState.STARTING:
            self._become(ProcessState.READY)
            self._say(f"ready, pid {self.pid}")

    def _become(self, state: ProcessState) -> None:
        self.state = state
        self.since = datetime.now(UTC)
        self._changed.set()
        self._on_change()

    def _say(self, text: str, *, error: bool = False) -> None:
        self._console.line("launcher", f"{self.name}: {text}", error=error)


class Supervisor:
    """All processes of a platform by name."""

    def __init__(self, console: Console, on_change: Callable[[], None] = lambda: None) -> None:
        self._console = console
        self._on_change = on_change
        self._processes: dict[str, Supervised] = {}

    def add(self, spec: Spec, log: ProcessLog) -> None:
        """Takes a process under supervision, stopped."""
        self._processes[spec.name] = Supervised(spec, log, self._console, self._on_change)

    def __getitem__(self, name: str) -> Supervised:
        """Raises LocalPlatformError for a name that is not supervised."""
        try:
            return self._processes[name]
        except KeyError:
            raise LocalPlatformError(f"There is no {name!r} here; there are {', '.join(self._processes)}.") from None

    def __iter__(self) -> Iterator[Supervised]:
        return iter(self._processes.values())

    async def start(self, names: Iterable[str], timeout_s: float) -> None:
        """Starts several together and returns when all serve. Raises ServerStartError for the first that does not."""
        chosen = [self[name] for name in names]
        for process in chosen:
            process.start()
        await asyncio.gather(*(process.wait_ready(timeout_s) for process in chosen))

    async def stop(self, names: Iterable[str]) -> None:
        """Stops several together."""
        await asyncio.gather(*(self[name].stop() for name in names))

    def kill_all(self) -> None:
        """For a person who does not want to wait for the drain."""
        for process in self._processes.values():
            process.kill()


async def _reader(process: "subprocess.Popen[bytes]") -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
    return reader, transport


async def _ended(pid: int) -> None:
    """Returns when the process has ended, leaving it to be reaped.

    asyncio's own subprocesses wait for the end of their output too, which a child that lives on would hold open.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):  # reaped by somebody else: it has ended all the same
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(tell)

    def tell() -> None:
        if not ended.done():
            ended.set_result(None)

    threading.Thread(target=wait, name=f"wait-{pid}", daemon=True).start()
    await ended


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # Not `send_signal`: it polls, and so would reap a process that has just ended before its end is noticed.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _kill_session(pid: int) -> None:
    # Each process leads a session and group of its own.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _described(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
