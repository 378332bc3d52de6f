"""Playbooks: refused, verified, undone, by button and by themselves, on a clock that the test moves."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import ConflictError, InvalidRequestError, PermissionDeniedError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.ops.edges.domain import Circuit, Forced
from services.gateway.ops.playbooks import reading
from services.gateway.ops.playbooks.domain import OpenIncident, Outcome, Situation
from services.gateway.ops.playbooks.usecases import BY_ITSELF, Playbooks
from services.gateway.ops.playbooks.world import CommandLine
from tests.unit.ops.test_edges import edge

AT = datetime(2026, 3, 8, tzinfo=UTC)
ANNA = Actor("anna", Role.ONCALL, Scope.ALL)
SVEN = Actor("sven", Role.SRE, Scope.ALL)
DEPLOYED = Path(__file__).parents[3] / "deploy/playbooks"

FALLBACK = """
title: files is out
why: exports wait for it
trigger: {alert: BreakwaterDependencyDown, dependency: files}
automatic: true
for_s: 5
pause_s: 100
preconditions:
  - circuit: {caller: gateway, dependency: files, state: not-closed}
steps:
  - fallback: {dependency: files, caller: gateway, ttl_s: 600}
verify:
  within_s: 5
  conditions:
    - overridden: {dependency: files, caller: gateway, mode: fallback}
"""


class World:
    """One edge, gateway → files, that shows its override unless it is told not to."""

    def __init__(self):
        self.circuit = Circuit.OPEN
        self.override = None
        self.incidents = []
        self.letters = None
        self.shows = True
        self.out = False
        self.done = []

    def open_incidents(self):
        return tuple(self.incidents)

    async def situation(self, *, letters):
        shown = self.override if self.shows else None
        files = edge("gateway", "files", state=self.circuit, override=shown)
        return Situation((files,), tuple(self.incidents), self.letters if letters else None)

    async def lay(self, actor, step, reason):
        if self.out:
            raise UnavailableError("no process could be reached")
        self.done.append(f"lay {step.dependency} {step.mode} by {actor.sub}")
        self.override = Forced(step.mode, actor.sub, reason, AT)

    async def lift(self, actor, dependency, caller):
        if self.out:
            raise UnavailableError("no process could be reached")
        self.done.append(f"lift {dependency}")
        self.override = None

    async def replay(self, actor, letters_max):
        self.done.append("replay")
        sent, self.letters = self.letters, 0
        return sent

    def notify(self, run, number, text):
        self.done.append(f"tell {run.playbook} {number}: {text}")

    async def command(self, step):
        self.done.append(f"{step.what} {step.service}")
        return "it runs"


class Record:
    """Remembers what is put on the timeline."""

    def __init__(self):
        self.lines = []

    def playbook_run(self, playbook, run):
        self.lines.append((playbook.name, run.actor, run.outcome.value, run.incident_id))

    def playbook_refused(self, playbook, actor, why):
        self.lines.append((playbook.name, actor, "refused", why))


@pytest.fixture
def world():
    """What is broken, and what was done about it."""
    return World()


@pytest.fixture
def record():
    """The timeline."""
    return Record()


@pytest.fixture
def clock():
    """Stands still unless it is moved."""
    return VirtualClock()


@pytest.fixture
def playbooks(world, record, clock):
    """The verbs over `files-down` as above, and over whatever a test adds."""
    made = Playbooks({"files-down": reading.parse("files-down", yaml.safe_load(FALLBACK))}, world, record, clock)
    yield made
    for task in made._active.values():
        task.cancel()


def changed(name="other", **changes):
    """The playbook above with other fields; None takes one out."""
    document = yaml.safe_load(FALLBACK) | changes
    return reading.parse(name, {key: value for key, value in document.items() if value is not None})


async def ended(playbooks, run, clock):
    """The run when it is over; the clock moves until it is."""
    for _ in range(200):
        if playbooks.run_of(run.id).outcome is not Outcome.RUNNING:
            break
        await clock.advance(0.5)
    return playbooks.run_of(run.id)


async def test_a_run_does_its_steps_sees_that_they_helped_and_says_so(playbooks, world, record, clock):
    """It lays what it says under its own name, verifies, and stands on the timeline with the incident it was for."""
    world.incidents = [OpenIncident("files-1", "BreakwaterDependencyDown", "files")]
    run = await ended(playbooks, await playbooks.start(ANNA, "files-down", "exports wait"), clock)
    assert run.outcome is Outcome.DONE
    assert world.done == ["lay files fallback by anna"]
    assert run.id in world.override.reason
    assert record.lines == [("files-down", "anna", "running", "files-1"), ("files-down", "anna", "done", "files-1")]


async def test_what_is_not_seen_to_help_is_undone(playbooks, world, record, clock):
    """The override is not shown by any process within the time: it is lifted, and the record says so."""
    world.shows = False
    run = await ended(playbooks, await playbooks.start(ANNA, "files-down", "exports wait"), clock)
    assert (run.outcome, world.done[-1], world.override) == (Outcome.ROLLED_BACK, "lift files", None)
    assert any("not so within 5 s" in line for line in run.lines)
    assert record.lines[-1][2] == "rolled_back"


async def test_what_somebody_has_overridden_since_is_not_lifted(playbooks, world, clock):
    """A person's later decision stands above the undoing of a playbook."""
    world.shows = False
    started = await playbooks.start(ANNA, "files-down", "exports wait")
    await clock.advance(0)
    world.override, world.shows = Forced("forced-open", "sven", "my own idea", AT), True
    run = await ended(playbooks, started, clock)
    assert run.outcome is Outcome.ROLLED_BACK
    assert world.override.actor == "sven"
    assert any(line.startswith("left: ") for line in run.lines)


async def test_what_cannot_be_undone_is_said_and_ends_as_failed(playbooks, world, clock):
    """Nobody can be reached any more: the run does not claim to have rolled back."""
    world.shows = False
    started = await playbooks.start(ANNA, "files-down", "exports wait")
    await clock.advance(0)
    world.out = True
    run = await ended(playbooks, started, clock)
    assert run.outcome is Outcome.FAILED
    assert any(line.startswith("not undone") for line in run.lines)


async def test_a_step_that_fails_ends_the_run_before_the_next(playbooks, world, clock):
    """Nothing was laid, so nothing is undone."""
    world.out = True
    run = await ended(playbooks, await playbooks.start(ANNA, "files-down", "exports wait"), clock)
    assert (run.outcome, world.done) == (Outcome.FAILED, [])


@pytest.mark.parametrize(
    ("circuit", "override", "why"),
    [
        (Circuit.CLOSED, None, "the circuit gateway → files is not-closed"),
        (Circuit.OPEN, Forced("shadow", "sven", "a trial", AT), "nobody has overridden gateway → files"),
    ],
)
async def test_a_run_is_refused_where_a_precondition_does_not_hold(playbooks, world, record, circuit, override, why):
    """Also where it would overrule somebody; the refusal names what is not so, and is on the timeline."""
    world.circuit, world.override = circuit, override
    with pytest.raises(ConflictError, match=why):
        await playbooks.start(ANNA, "files-down", "exports wait")
    assert (world.done, record.lines[0][2]) == ([], "refused")


async def test_what_a_run_laid_for_the_time_of_its_steps_it_takes_back(playbooks, world, clock):
    """The fallback is there while the service is restarted, on-call is told, and it is gone before the end is verified."""
    steps = [
        {"fallback": {"dependency": "files", "caller": "gateway", "ttl_s": 60}},
        {"restart": {"service": "files"}},
        {"roll_back": {}},
        {"notify": {"text": "files was restarted"}},
    ]
    verify = {"within_s": 5, "conditions": [{"circuit": {"caller": "gateway", "dependency": "files", "state": "open"}}]}
    playbooks.playbooks["restart"] = changed("restart", automatic=None, steps=steps, verify=verify)
    run = await ended(playbooks, await playbooks.start(ANNA, "restart", "it hangs"), clock)
    assert (run.outcome, world.override) == (Outcome.DONE, None)
    assert world.done == [
        "lay files fallback by anna",
        "restart files",
        "lift files",
        "tell restart 3: files was restarted",
    ]


async def test_chaos_is_a_fault_and_no_decision_that_stands_in_the_way(playbooks, world, clock):
    """What a drill injects on the edge is mitigated as a real fault is."""
    world.override = Forced("chaos", "sven", "a drill", AT)
    run = await ended(playbooks, await playbooks.start(ANNA, "files-down", "exports wait"), clock)
    assert (run.outcome, world.override.mode) == (Outcome.DONE, "fallback")


async def test_a_run_that_cannot_take_back_what_it_laid_has_failed(playbooks, world, clock):
    """What comes after is not done: the override is still there."""
    steps = [
        {"fallback": {"dependency": "files", "caller": "gateway", "ttl_s": 60}},
        {
            "verify": {
                "within_s": 5,
                "conditions": [{"circuit": {"caller": "gateway", "dependency": "files", "state": "closed"}}],
            }
        },
        {"roll_back": {}},
        {"notify": {"text": "it is over"}},
    ]
    playbooks.playbooks["other"] = changed(automatic=None, steps=steps)
    started = await playbooks.start(ANNA, "other", "it hangs")
    await clock.advance(0)
    world.circuit, world.out = Circuit.CLOSED, True
    run = await ended(playbooks, started, clock)
    assert run.outcome is Outcome.FAILED
    assert world.done == ["lay files fallback by anna"]
    assert run.lines[-1].startswith("not undone")


async def test_a_playbook_runs_once_at_a_time(playbooks, world, clock):
    """The second press of the button is refused until the first run is over."""
    world.shows = False
    first = await playbooks.start(ANNA, "files-down", "exports wait")
    with pytest.raises(ConflictError, match="it runs already"):
        await playbooks.start(SVEN, "files-down", "me too")
    await ended(playbooks, first, clock)
    assert (await playbooks.start(SVEN, "files-down", "again")).outcome is Outcome.RUNNING


async def test_a_run_needs_a_reason_and_a_role(playbooks, world):
    """Whoever is on call next must know why; deploying is for sre."""
    steps = [{"deploy_pin": {"service": "files"}}]
    playbooks.playbooks["pin"] = changed("pin", automatic=None, role="sre", steps=steps)
    with pytest.raises(InvalidRequestError):
        await playbooks.start(ANNA, "files-down", "  ")
    with pytest.raises(PermissionDeniedError):
        await playbooks.start(ANNA, "pin", "the release refuses us")
    await playbooks.start(SVEN, "pin", "the release refuses us")


async def test_a_preview_changes_nothing_and_says_what_would_be(playbooks, world):
    """Each step with the edges it would touch, what would be undone, and why it would be refused."""
    world.circuit = Circuit.CLOSED
    found = await playbooks.preview("files-down")
    assert world.done == []
    assert found.unmet == ("not so: the circuit gateway → files is not-closed",)
    assert found.lines[0].startswith("1. override gateway → files: fallback for 600 s; now gateway (closed")
    assert found.lines[-1] == "else: lift gateway → files"


async def test_an_automatic_playbook_starts_once_its_trigger_has_lasted(playbooks, world, clock, record):
    """Not for a moment's incident, within seconds for one that lasts, and not again and again."""
    world.incidents = [OpenIncident("files-1", "BreakwaterDependencyDown", "files")]
    await playbooks.look()
    await clock.advance(4)
    world.incidents = []
    await playbooks.look()
    world.incidents = [OpenIncident("files-2", "BreakwaterDependencyDown", "files")]
    await playbooks.look()
    await clock.advance(4)
    await playbooks.look()
    assert record.lines == []
    await clock.advance(1)
    await playbooks.look()
    assert record.lines[0] == ("files-down", BY_ITSELF.sub, "running", "files-2")
    await ended(playbooks, playbooks.latest("files-down"), clock)
    world.override = None
    await clock.advance(50)
    await playbooks.look()
    assert len(record.lines) == 2
    await clock.advance(50)
    await playbooks.look()
    assert len(record.lines) == 3


async def test_an_automatic_playbook_does_not_start_for_what_is_open_and_fails_no_more(playbooks, world, clock, record):
    """An incident stays open until its edges have been well for a while: what a run laid is not laid again for that."""
    world.incidents = [OpenIncident("files-1", "BreakwaterDependencyDown", "files", failing=False)]
    for _ in range(20):
        await playbooks.look()
        await clock.advance(1)
    assert record.lines == []
    assert playbooks.fitting() == {"files-down"}


async def test_dead_letters_that_die_again_are_not_called_done(playbooks, world, clock):
    """The stream is empty for a moment after a replay: only that it stays so counts."""
    verify = {"within_s": 30, "hold_s": 10, "conditions": [{"dead_letters": {"most": 0}}]}
    conditions = [{"dead_letters": {"least": 1}}]
    playbooks.playbooks["replay"] = changed(
        "replay",
        automatic=None,
        trigger=None,
        preconditions=conditions,
        steps=[{"replay_dead_letters": {"max": 9}}],
        verify=verify,
    )
    with pytest.raises(ConflictError, match="1 dead letters or more wait"):
        await playbooks.start(ANNA, "replay", "it is mended")  # how many there are is not known
    world.letters = 3
    started = await playbooks.start(ANNA, "replay", "it is mended")
    await clock.advance(5)
    world.letters = 3
    run = await ended(playbooks, started, clock)
    assert run.outcome is Outcome.FAILED
    again = await ended(playbooks, await playbooks.start(ANNA, "replay", "now it is"), clock)
    assert again.outcome is Outcome.DONE
    assert again.lines[0].endswith(": 3 sent")


WRONG = {
    "a word it does not know": ({"tigger": 1}, "tigger: is not known"),
    "no verification": ({"verify": None}, "verify: is missing"),
    "a verification of nothing": ({"verify": {"within_s": 1, "conditions": []}}, "verify.conditions: at least one"),
    "a step there is not": ({"steps": [{"pray": {}}]}, "steps[0]: pray is no step"),
    "no step": ({"steps": []}, "steps: 1 to"),
    "a note of nothing": ({"steps": [{"notify": {"text": " "}}]}, "steps[0].notify.text: a text"),
    "a novel": ({"steps": [{"notify": {"text": "x" * 501}}]}, "steps[0].notify.text: at most 500"),
    "nothing to take back": ({"steps": [{"roll_back": {}}]}, "steps[0].roll_back: nothing is laid"),
    "an override for ever": (
        {"steps": [{"fallback": {"dependency": "files", "ttl_s": 10**9}}]}, "steps[0].fallback.ttl_s: above 0",
    ),
    "chaos": (
        {"steps": [{"override": {"dependency": "files", "mode": "chaos", "ttl_s": 1}}]}, "steps[0].override.mode: one of",
    ),
    "a deployment that nobody presses": (
        {"role": "sre", "steps": [{"deploy_pin": {"service": "files"}}]}, "automatic: deploy the pin of files",
    ),
    "a deployment by on-call": ({"automatic": False, "steps": [{"deploy_pin": {"service": "files"}}]}, "role: "),
    "the restart of itself": (
        {"automatic": False, "steps": [{"restart": {"service": "ops"}}]}, "steps[0].restart: not of the process",
    ),
    "automatic without a trigger": ({"trigger": None}, "automatic: needs a trigger"),
    "text for a number": ({"for_s": "soon"}, "for_s: seconds"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_meant_is_refused_by_its_place(name):
    """Strictly: a playbook is read in calm, so that nothing is guessed in an outage."""
    changes, said = WRONG[name]
    with pytest.raises(reading.WrongPlaybookError) as refused:
        changed(**changes)
    assert said in str(refused.value)


def test_a_wrong_file_does_not_keep_the_others_away(tmp_path):
    """It is listed with what is wrong, and cannot be run."""
    (tmp_path / "good.yaml").write_text(FALLBACK)
    (tmp_path / "bad.yaml").write_text("title: [")
    (tmp_path / "worse.yaml").write_text("title: x\n")
    library = reading.read(tmp_path)
    assert set(library.playbooks) == {"good"}
    assert library.refused["worse.yaml"] == "why: is missing"
    assert set(library.refused) == {"bad.yaml", "worse.yaml"}


async def test_a_command_that_fails_or_is_not_to_be_had_fails_the_step():
    """Its first line is what the run says of it."""
    [step] = changed(automatic=None, steps=[{"restart": {"service": "notify"}}]).steps
    assert (
        await CommandLine(["echo", "said:"], DEPLOYED, {"PATH": "/usr/bin:/bin"}).run(step)
        == "said: service restart notify"
    )
    for argv in ((), ("false",)):
        with pytest.raises(UnavailableError, match="restart notify"):
            await CommandLine(argv, DEPLOYED, {"PATH": "/usr/bin:/bin"}).run(step)
