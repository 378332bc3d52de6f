"""The world a playbook acts on: edges and incidents as the console has them, overrides, dead letters, and the command line."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.deadletters import DeadLetter
from breakwater.chassis.errors import BreakwaterError, UnavailableError
from breakwater.chassis.identity import Actor
from services.gateway.ops.alarms.domain import Alarm, note_of
from services.gateway.ops.edges.domain import Edge
from services.gateway.ops.incidents.domain import Incident
from services.gateway.ops.overrides.usecases import Overrides
from services.gateway.ops.playbooks.domain import Command, Lay, OpenIncident, Run, Situation

LETTERS_COUNTED_MAX = 1_000
COMMAND_S_MAX = 900.0
"""The gate runs a service and asks it; nothing takes longer."""
_SAID_CHARS_MAX = 300
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "deploy-pin": ("deploy", "{service}", "pin"),
    "gate": ("gate", "--candidate", "{service}"),
    "restart": ("service", "restart", "{service}"),
}


class Sight(Protocol):
    """What the console shows, and where a replay is written down."""

    def edges(self) -> tuple[Edge, ...]: ...

    def incidents(self, *, open_only: bool = False) -> tuple[Incident, ...]: ...

    def failing(self) -> frozenset[str]: ...

    def replayed(self, actor: Actor, seq: int, what: str, service: str) -> None: ...


class Letters(Protocol):
    """The stream of dead letters; raises `UnavailableError` while NATS is down."""

    async def read(self, limit: int, *, after_seq: int) -> list[DeadLetter]: ...

    async def replay(self, seq: int) -> DeadLetter: ...


class Alarms(Protocol):
    """The ways to on-call."""

    def announce(self, alarm: Alarm) -> None: ...


class CommandLine:
    """The `breakwater` command, in the tree that holds deploy/ and contracts/. Without `argv` nothing can be run."""

    def __init__(self, argv: Sequence[str], root: Path | None, environment: Mapping[str, str]) -> None:
        self._argv = tuple(argv)
        self._root = root
        self._environment = dict(environment)

    async def run(self, step: Command) -> str:
        """The first line it prints. Raises `UnavailableError` when it fails, hangs, or cannot be run here."""
        if not self._argv or self._root is None:
            raise UnavailableError(f"{step} cannot be done from here: BREAKWATER_PLAYBOOK_COMMAND is not set")
        arguments = [part.format(service=step.service) for part in _ARGUMENTS[step.what]]
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            *arguments,
            cwd=self._root,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_S_MAX):
                output, _ = await process.communicate()
        except TimeoutError:
            raise UnavailableError(f"{step}: not done within {COMMAND_S_MAX:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = (output.decode(errors="replace").strip().splitlines() or ["nothing said"])[0][:_SAID_CHARS_MAX]
        if process.returncode:
            raise UnavailableError(f"{step}: {said}")
        return said


class OpsWorld:
    """The port of the use cases."""

    def __init__(
        self,
        sight: Sight,
        overrides: Overrides,
        letters: Letters,
        alarms: Alarms,
        clock: Clock,
        command_line: CommandLine,
    ) -> None:
        self._sight = sight
        self._overrides = overrides
        self._letters = letters
        self._alarms = alarms
        self._clock = clock
        self._command_line = command_line

    def open_incidents(self) -> tuple[OpenIncident, ...]:
        failing, open_ = self._sight.failing(), self._sight.incidents(open_only=True)
        return tuple(OpenIncident(each.id, each.alert, each.cause.dependency, each.id in failing) for each in open_)

    async def situation(self, *, letters: bool) -> Situation:
        waiting: int | None = None
        if letters:
            try:
                waiting = len(await self._letters.read(LETTERS_COUNTED_MAX, after_seq=0))
            except BreakwaterError:
                waiting = None
        return Situation(self._sight.edges(), self.open_incidents(), waiting)

    async def lay(self, actor: Actor, step: Lay, reason: str) -> None:
        await self._overrides.lay(
            actor,
            dependency=step.dependency,
            caller=step.caller or None,
            mode=step.mode,
            reason=reason,
            ttl_s=step.ttl_s,
        )

    async def lift(self, actor: Actor, dependency: str, caller: str) -> None:
        await self._overrides.lift(actor, dependency=dependency, caller=caller or None)

    async def replay(self, actor: Actor, letters_max: int) -> int:
        # All of them named first: one that dies again meanwhile is not sent for ever.
        letters = await self._letters.read(letters_max, after_seq=0)
        for letter in letters:
            sent = await self._letters.replay(letter.seq)
            self._sight.replayed(actor, sent.seq, f"{sent.type} {sent.subject_id}", sent.service)
        return len(letters)

    def notify(self, run: Run, number: int, text: str) -> None:
        self._alarms.announce(note_of(run.playbook, run.id, run.incident_id, number, text, self._clock.now()))

    async def command(self, step: Command) -> str:
        return await self._command_line.run(step)
