"""A candidate: one process of a tree or of an unpacked wheel, started for real on free ports, and stopped in bounded time."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from breakwater.chassis.migrations import MigrationFailedError
from breakwater.compat.world import World
from breakwater.local.ports import HOST, free_port
from breakwater.local.programs import Program
from breakwater.local.readiness import answers_ready
from breakwater.local.topology import FRONTS, MODULES, environment

START_TIMEOUT_S = 20.0
"""A candidate that is not ready by then counts as hung."""
_LOG_TAIL_BYTES = 1_500
_POLL_S = 0.02


class CandidateError(Exception):
    """The candidate crashed or hung. The gate answers it with a NO."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A running process. `database_url` is its own database, without a password."""

    process: str
    grpc: str
    http: str
    """`http://host:port`; empty for one that serves no HTTP."""
    database_url: str
    _running: "subprocess.Popen[bytes]"
    _log: Path

    def require_alive(self) -> None:
        """Raises `CandidateError` with the end of its log when it is no more."""
        code = self._running.poll()
        if code is not None:
            raise CandidateError(f"{self.process} ended with {code}: {self.log_tail()}")

    def log_tail(self) -> str:
        """The end of what it wrote, in one line."""
        return " ".join(self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").split())


def code_of(tree: Path) -> tuple[Path, ...]:
    """Where Python finds a tree's packages, or an unpacked wheel's."""
    return (tree / "libs", tree) if (tree / "libs").is_dir() else (tree,)


@asynccontextmanager
async def running(
    world: World,
    tree: Path,
    process: str,
    peers: Mapping[str, str],
    *,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Candidate]:
    """Starts `process` of the code in `tree`, with `peers` (name to host:port) for its neighbours, and stops it at the end.

    `settings` are laid over its environment. Raises `CandidateError` when it crashes, or is not ready in time.
    """
    try:
        url = await world.database(process, tree)
    except MigrationFailedError as error:
        raise CandidateError(f"{process} cannot be migrated: {error}") from error
    ports = _ports(process)
    log = world.state.logs / f"{process}-{ports['METRICS_PORT']}.log"
    running_process = _spawn(world, tree, process, ports | {"DATABASE_URL": url} | dict(settings or {}), peers, log)
    http = f"http://{HOST}:{ports['HTTP_PORT']}" if "HTTP_PORT" in ports else ""
    candidate = Candidate(process, f"{HOST}:{ports['GRPC_PORT']}", http, url, running_process, log)
    try:
        await _ready(candidate, int(ports["METRICS_PORT"]))
        yield candidate
    finally:
        await _kill(running_process)
        log.unlink(missing_ok=True)
        await world.drop(url)


def _ports(process: str) -> dict[str, str]:
    names = ("GRPC_PORT", "METRICS_PORT", *(("HTTP_PORT",) if process in FRONTS else ()))
    taken: list[int] = []
    for _ in names:
        taken.append(free_port(taken))
    return dict(zip(names, map(str, taken), strict=True))


def _spawn(
    world: World, tree: Path, process: str, told: Mapping[str, str], peers: Mapping[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    env = environment(process, world.state, nats_url=world.nats.url, told=told, peers=peers)
    # The tree's packages go before those this gate runs from, and nothing is written into it.
    env |= {"PYTHONPATH": os.pathsep.join(map(str, code_of(tree))), "PYTHONDONTWRITEBYTECODE": "1"}
    program = Program((sys.executable, "-P", "-m", MODULES[process]), env, directory=str(world.state.root))
    with log.open("ab") as output:
        return program.spawn(output.fileno())


async def _ready(candidate: Candidate, metrics_port: int) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not await answers_ready(metrics_port):
        candidate.require_alive()
        if time.monotonic() > deadline_s:
            raise CandidateError(
                f"{candidate.process} was not ready within {START_TIMEOUT_S:.0f} s: {candidate.log_tail()}"
            )
        await asyncio.sleep(_POLL_S)


async def _kill(process: "subprocess.Popen[bytes]") -> None:
    """It has no user to be kind to, and all it leaves is thrown away: killed with whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.wait)
