"""Starts a whole platform in order, keeps it running, and drains it in the opposite order."""

import asyncio
import contextlib
import functools
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from breakwater.local import control, topology
from breakwater.local.directories import lock
from breakwater.local.errors import DirectoryInUseError, LocalPlatformError, PortInUseError
from breakwater.local.logs import Console, ProcessLog
from breakwater.local.nats import OPERATOR, NatsServer
from breakwater.local.ports import is_free
from breakwater.local.postgres import SUPERUSER, PostgresServer
from breakwater.local.programs import Program
from breakwater.local.provision import provision_keys, provision_postgres
from breakwater.local.readiness import answers_ready
from breakwater.local.secret_files import write_secret
from breakwater.local.state import State
from breakwater.local.supervisor import Spec, Supervised, Supervisor

START_TIMEOUT_S = 60.0
LOCK_PATIENCE_S = 10.0

Ready = Callable[[dict[str, Any]], Awaitable[None]]


class Launcher:
    """One local platform, from its first start to its drain.

    `run` is the whole life; `on_ready` is called once with what `breakwater up` prints.
    """

    def __init__(self, state: State, ports: topology.Ports, console: Console) -> None:
        self._state = state
        self._ports = ports
        self._console = console
        self._supervisor = Supervisor(console, self._write_platform_file)
        self._postgres = PostgresServer(
            state.root / "postgres", password_file=state.password_file("superuser"), port=ports.postgres
        )
        self._nats = NatsServer(state.root / "nats", secrets=state.secrets, port=ports.nats)
        self._lock_fd = -1
        self._commands = asyncio.Lock()
        self._is_ready = False
        for server in (self._postgres, self._nats):
            self._supervise(server.name, server.program, functools.partial(asyncio.to_thread, server.is_ready))
        for name, own in ports.processes.items():
            program = functools.partial(self._process_program, name)
            self._supervise(name, program, functools.partial(answers_ready, own.metrics))

    async def run(self, on_ready: Ready) -> None:
        """Starts everything, then supervises until SIGINT, SIGTERM or SIGHUP, then drains.

        A second signal kills at once. Raises LocalPlatformError when the platform cannot start.
        """
        self._state.prepare()
        self._lock_fd = self._lock()
        try:
            stop = self._stop_event()
            server = await control.serve(self._state.control_socket, self._obey)
            try:
                await self._start_or_stop(on_ready, stop)
                await stop.wait()
            finally:
                server.close()
                await self._drain()
                self._nats.close()
                self._postgres.close()
        finally:
            self._state.control_socket.unlink(missing_ok=True)
            self._state.platform_file.unlink(missing_ok=True)
            os.close(self._lock_fd)

    def platform(self) -> dict[str, Any]:
        """What `up` and `status --json` print: addresses, present pids, states."""
        ports, processes = self._ports, self._supervisor
        return {
            "ready": self._is_ready,
            "gateway": ports.gateway_url,
            "ops": ports.ops_url,
            "services": {
                name: {"grpc": own.grpc, "metrics": own.metrics, **_condition(processes[name])}
                for name, own in ports.processes.items()
            },
            "nats": {
                "url": f"nats://127.0.0.1:{ports.nats}",
                "port": ports.nats,
                "user": OPERATOR,
                "password_file": str(self._state.secrets / f"nats-{OPERATOR}.password"),
                **_condition(processes["nats"]),
            },
            "postgres": {
                "url": f"postgresql://{SUPERUSER}@127.0.0.1:{ports.postgres}/{topology.DATABASE}",
                "port": ports.postgres,
                "user": SUPERUSER,
                "password_file": str(self._state.password_file("superuser")),
                **_condition(processes["postgres"]),
            },
            "state": str(self._state.root),
            "pid": os.getpid(),
        }

    async def _start_or_stop(self, on_ready: Ready, stop: asyncio.Event) -> None:
        starting = asyncio.create_task(self._start(on_ready))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting

    async def _start(self, on_ready: Ready) -> None:
        self._require_free_ports()
        provision_keys(self._state)
        for server in (self._postgres, self._nats):
            self._say(f"{server.name}: preparing")
            server.prepare()
        await self._supervisor.start((self._postgres.name, self._nats.name), START_TIMEOUT_S)
        self._say("schemas: migrating")
        await provision_postgres(self._state, self._postgres)
        await self._supervisor.start(topology.SERVICES, START_TIMEOUT_S)
        await self._supervisor.start(topology.FRONTS, START_TIMEOUT_S)
        self._is_ready = True
        self._write_platform_file()
        await on_ready(self.platform())

    async def _drain(self) -> None:
        """Callers first, then those who serve them, then what those stand on."""
        self._is_ready = False
        self._say("draining")
        for names in (("gateway",), topology.SERVICES, ("ops",), ("nats",), ("postgres",)):
            await self._supervisor.stop(names)
        self._say("stopped")

    async def _obey(self, command: str, name: str) -> dict[str, Any]:
        if command == "status":
            return self.platform()
        process = self._supervisor[name]
        if command not in {"start", "stop", "restart"}:
            raise LocalPlatformError(f"There is no command {command!r}.")
        # One at a time: a stop and a start of the same process must not cross.
        async with self._commands:
            if command != "start":
                await process.stop()
            if command != "stop":
                process.start()
                await process.wait_ready(START_TIMEOUT_S)
        return self.platform()

    def _supervise(self, name: str, program: Callable[[], Program], is_ready: Callable[[], Awaitable[bool]]) -> None:
        self._supervisor.add(Spec(name, program, is_ready), ProcessLog(self._state.logs, name))

    def _process_program(self, name: str) -> Program:
        return topology.process_program(name, self._state, self._ports, self._lock_fd)

    def _lock(self) -> int:
        path = self._state.lock_file
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        holder = os.pread(descriptor, 20, 0).decode().strip()
        alive = holder != str(os.getpid()) and Path(f"/proc/{holder or 'nobody'}").exists()
        try:
            # Of a launcher that was killed, the processes hold the lock a moment longer.
            lock(descriptor, path, 0 if alive else LOCK_PATIENCE_S)
        except DirectoryInUseError:
            os.close(descriptor)
            raise LocalPlatformError(
                f"A platform runs in {self._state.root} already (pid {holder}): "
                "see `breakwater status`, end it by Ctrl-C, or name another --state."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor

    def _require_free_ports(self) -> None:
        taken = [f"{port} for {name}" for name, port in self._ports.named() if not is_free(port)]
        if taken:
            raise PortInUseError(f"Ports in use: {', '.join(taken)}. Free them, or start with `--ports auto`.")

    def _stop_event(self) -> asyncio.Event:
        stop = asyncio.Event()

        def on_signal() -> None:
            if stop.is_set():
                self._supervisor.kill_all()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)
        return stop

    def _write_platform_file(self) -> None:
        if self._is_ready:
            write_secret(self._state.platform_file, json.dumps(self.platform()))

    def _say(self, text: str) -> None:
        self._console.line("launcher", text)


def _condition(process: Supervised) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "state": process.state.value,
        "restarts": process.restarts,
        "since": process.since.isoformat().replace("+00:00", "Z"),
    }
