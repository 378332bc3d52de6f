"""Running playbooks: refused where the preconditions do not hold, verified afterwards, undone when that fails."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import (
    BreakwaterError,
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.ids import uuid7
from services.gateway.ops.playbooks.domain import (
    Command,
    Lay,
    Lift,
    Notify,
    OpenIncident,
    Outcome,
    Playbook,
    Preview,
    Replay,
    RollBack,
    Run,
    Situation,
    Step,
    Verify,
    Watch,
    incident_of,
    preview,
)

LOOK_S = 0.25
"""How often triggers are looked at."""
VERIFY_EVERY_S = 0.5
REASON_CHARS_MIN = 3
RUNS_MAX = 200
"""Runs that are remembered; each stands on the timeline too."""
SENIOR = frozenset({Role.SRE, Role.ADMIN})
BY_ITSELF = Actor("playbook", Role.SRE, Scope.ALL)


class World(Protocol):
    """What is known, and what can be done. The methods raise `BreakwaterError`."""

    def open_incidents(self) -> tuple[OpenIncident, ...]:
        """What triggers look at, several times a second."""
        ...

    async def situation(self, *, letters: bool) -> Situation:
        """What is known now; with the number of dead letters only when it is asked for: it is asked of NATS."""
        ...

    async def lay(self, actor: Actor, step: Lay, reason: str) -> None: ...

    async def lift(self, actor: Actor, dependency: str, caller: str) -> None: ...

    async def replay(self, actor: Actor, letters_max: int) -> int:
        """How many dead letters were sent again."""
        ...

    def notify(self, run: Run, number: int, text: str) -> None:
        """On its way to on-call; `number` tells the notes of a run apart."""
        ...

    async def command(self, step: Command) -> str:
        """The first line of what it says."""
        ...


class Record(Protocol):
    """The audit."""

    def playbook_run(self, playbook: Playbook, run: Run) -> None:
        """It began, or it ended."""
        ...

    def playbook_refused(self, playbook: Playbook, actor: str, why: str) -> None: ...


@dataclass(slots=True)
class Playbooks:
    """The verbs."""

    playbooks: Mapping[str, Playbook]
    world: World
    record: Record
    clock: Clock
    _runs: OrderedDict[str, Run] = field(default_factory=OrderedDict)
    _active: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """By playbook: one run of each at a time."""
    _watch: Watch = field(default_factory=Watch)

    def get(self, name: str) -> Playbook:
        """Raises `NotFoundError`."""
        playbook = self.playbooks.get(name)
        if playbook is None:
            raise NotFoundError("there is no such playbook")
        return playbook

    def run_of(self, run_id: str) -> Run:
        """Raises `NotFoundError`, also for a run of before this process started."""
        run = self._runs.get(run_id)
        if run is None:
            raise NotFoundError("no run has this id; the timeline has the older ones")
        return run

    def latest(self, name: str) -> Run | None:
        """The newest run of a playbook."""
        return next((run for run in reversed(self._runs.values()) if run.playbook == name), None)

    def fitting(self) -> frozenset[str]:
        """The playbooks whose trigger holds now."""
        open_ = self.world.open_incidents()
        triggers = {name: playbook.trigger for name, playbook in self.playbooks.items()}
        return frozenset(name for name, trigger in triggers.items() if trigger and any(map(trigger.means, open_)))

    async def preview(self, name: str) -> Preview:
        """What a run would do now, and why it would be refused. Raises `NotFoundError`."""
        playbook = self.get(name)
        return preview(playbook, await self.world.situation(letters=playbook.counts_letters))

    async def start(self, actor: Actor, name: str, reason: str) -> Run:
        """Begins a run, and answers at once.

        Raises `NotFoundError`, `InvalidRequestError`, `PermissionDeniedError`, and `ConflictError` where a precondition
        does not hold or it runs already.
        """
        playbook = self.get(name)
        if len(reason.strip()) < REASON_CHARS_MIN:
            fields = [FieldError("reason", f"{REASON_CHARS_MIN} characters or more")]
            raise InvalidRequestError("the playbook is not run without a reason", errors=fields)
        if playbook.role == "sre" and actor.role not in SENIOR:
            raise PermissionDeniedError(f"the playbook {name} is for sre")
        situation = await self.world.situation(letters=playbook.counts_letters)
        unmet = preview(playbook, situation).unmet
        if name in self._active:
            unmet = ("it runs already", *unmet)
        if unmet:
            self.record.playbook_refused(playbook, actor.sub, "; ".join(unmet))
            raise ConflictError(f"the playbook {name} is refused: {'; '.join(unmet)}")
        run = Run(uuid7(), name, actor.sub, reason, self.clock.now(), incident_of(playbook, situation))
        self._keep(run)
        self.record.playbook_run(playbook, run)
        self._active[name] = asyncio.create_task(self._perform(actor, playbook, run))
        return run

    async def run(self) -> None:
        """Starts what is automatic when its trigger holds, for as long as it is awaited; runs under way end with it."""
        try:
            while True:
                await self.look()
                await self.clock.sleep(LOOK_S)
        finally:
            for task in self._active.values():
                task.cancel()

    async def look(self) -> None:
        """One look at the triggers."""
        now_s = self.clock.monotonic()
        for playbook in self._watch.due(self.playbooks, self.world.open_incidents(), now_s):
            self._watch.ran(playbook.name, now_s)
            try:
                await self.start(BY_ITSELF, playbook.name, f"by itself: {playbook.trigger}")
            except BreakwaterError:
                continue  # refused, which is on the record

    async def _perform(self, actor: Actor, playbook: Playbook, run: Run) -> None:
        laid: list[Lay] = []
        try:
            for step in (*playbook.steps, playbook.verify):
                if isinstance(step, RollBack):
                    run, whole = await self._take_back(actor, laid, run)
                    if not whole:
                        raise ConflictError("not all of it could be taken back")
                    laid.clear()
                    continue
                said = await self._do(actor, step, run)
                if isinstance(step, Lay):
                    laid.append(step)
                run = self._keep(replace(run, lines=(*run.lines, f"done: {step}{said}")))
            outcome = Outcome.DONE
        except BreakwaterError as error:
            run = self._keep(replace(run, lines=(*run.lines, f"failed: {error.detail}")))
            run, whole = await self._take_back(actor, laid, run)
            outcome = Outcome.ROLLED_BACK if laid and whole else Outcome.FAILED
        finally:
            del self._active[playbook.name]
        self.record.playbook_run(playbook, self._keep(replace(run, outcome=outcome, ended_at=self.clock.now())))

    async def _do(self, actor: Actor, step: Step, run: Run) -> str:
        match step:
            case Lay():
                await self.world.lay(actor, step, _reason(run))
            case Lift():
                await self.world.lift(actor, step.dependency, step.caller)
            case Notify():
                self.world.notify(run, len(run.lines), step.text)
            case Replay():
                return f": {await self.world.replay(actor, step.letters_max)} sent"
            case Command():
                return f": {await self.world.command(step)}"
            case Verify():
                await self._verify(step, letters=self.playbooks[run.playbook].counts_letters)
        return ""

    async def _verify(self, step: Verify, *, letters: bool) -> None:
        until_s = self.clock.monotonic() + step.within_s
        since_s: float | None = None
        while True:
            situation, now_s = await self.world.situation(letters=letters), self.clock.monotonic()
            missing = [str(each) for each in step.conditions if not each.holds(situation)]
            since_s = None if missing else now_s if since_s is None else since_s
            if since_s is not None and now_s - since_s >= step.hold_s:
                return
            if now_s >= until_s:
                raise ConflictError(f"not so within {step.within_s:g} s: {', '.join(missing) or 'for long enough'}")
            await self.clock.sleep(VERIFY_EVERY_S)

    async def _take_back(self, actor: Actor, laid: list[Lay], run: Run) -> tuple[Run, bool]:
        """Lifts what was laid, the last first; False where one of them could not be lifted."""
        whole = True
        for step in reversed(laid):
            try:
                edges = (await self.world.situation(letters=False)).edges_to(step.dependency, step.caller)
                shown = {edge.override.reason for edge in edges if edge.override}
                if shown and _reason(run) not in shown:
                    said = "left: somebody else has overridden it since"
                else:
                    await self.world.lift(actor, step.dependency, step.caller)
                    said = "undone"
            except BreakwaterError as error:
                said, whole = f"not undone ({error.detail})", False
            run = self._keep(replace(run, lines=(*run.lines, f"{said}: {step}")))
        return run, whole

    def _keep(self, run: Run) -> Run:
        self._runs[run.id] = run
        while len(self._runs) > RUNS_MAX:
            self._runs.popitem(last=False)
        return run


def _reason(run: Run) -> str:
    """On every edge it overrides: who sees it can tell which run it was."""
    return f"playbook {run.playbook}, run {run.id}: {run.reason}"[:500]
