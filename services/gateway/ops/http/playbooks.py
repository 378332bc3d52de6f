"""Playbooks: which there are, what one would do now, running one and following it."""

from pydantic import Field
from typing_extensions import TypedDict

from services.gateway.http.answers import Answer, answer, rfc3339_of
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Input
from services.gateway.ops.playbooks.domain import Outcome, Playbook, Preview, Run
from services.gateway.ops.playbooks.reading import Library
from services.gateway.ops.playbooks.usecases import Playbooks

REASON_CHARS_MAX = 300


class RunInput(Input):
    """Runs a playbook, or says what that would do."""

    dry_run: bool = False
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)
    """Why; it stands on the timeline and on what the run overrides. A dry run needs none."""


class RunView(TypedDict):
    """One run. `outcome`: running, done, rolled_back or failed."""

    id: str
    playbook: str
    actor: str
    reason: str
    incident_id: str | None
    started_at: str | None
    ended_at: str | None
    outcome: str
    lines: list[str]


class PreviewView(TypedDict):
    """What a run would do now. `refused` says why it would not begin."""

    refused: list[str]
    lines: list[str]


class StartView(TypedDict):
    """The run that began, or the preview of a dry run."""

    run: RunView | None
    preview: PreviewView | None


class PlaybookView(TypedDict):
    """One playbook. `fits`: what it is for is so now."""

    name: str
    title: str
    why: str
    alert: str | None
    dependency: str | None
    automatic: bool
    role: str
    fits: bool
    preconditions: list[str]
    steps: list[str]
    verify: str
    last_run: RunView | None


class PlaybooksView(TypedDict):
    """Those that fit now first. `refused` are files that are no playbooks, with what is wrong with each."""

    items: list[PlaybookView]
    refused: dict[str, str]
    next_cursor: str | None


def add_routes(api: Api, library: Library, playbooks: Playbooks) -> None:
    """Adds the routes."""

    @api.route("GET", "/v1/playbooks", PlaybooksView, tag="playbooks")
    async def list_playbooks() -> Answer:
        """Every playbook, those that fit the open incidents first."""
        fitting = playbooks.fitting()
        views = [_playbook(each, playbooks, fits=name in fitting) for name, each in library.playbooks.items()]
        views.sort(key=lambda view: (not view["fits"], view["name"]))
        return answer(PlaybooksView(items=views, refused=dict(library.refused), next_cursor=None))

    @api.route("POST", "/v1/playbooks/{name}/runs", StartView, status=202, tag="playbooks")
    async def run_playbook(name: str, call: Call, body: RunInput) -> Answer:
        """Begins a run, or with dry_run only says what it would do; 409 where a precondition does not hold."""
        if body.dry_run:
            return answer(StartView(run=None, preview=_preview(await playbooks.preview(name))), status=202)
        run = await playbooks.start(call.actor, name, body.reason)
        return answer(StartView(run=_run(run), preview=None), status=202)

    @api.route("GET", "/v1/playbooks/runs/{run_id}", RunView, tag="playbooks")
    async def show_run(run_id: str) -> Answer:
        """How far a run is, or what it came to."""
        return answer(_run(playbooks.run_of(run_id)))


def _playbook(playbook: Playbook, playbooks: Playbooks, *, fits: bool) -> PlaybookView:
    last = playbooks.latest(playbook.name)
    return PlaybookView(
        name=playbook.name,
        title=playbook.title,
        why=playbook.why,
        alert=playbook.trigger.alert if playbook.trigger else None,
        dependency=playbook.trigger.dependency if playbook.trigger else None,
        automatic=playbook.automatic,
        role=playbook.role,
        fits=fits,
        preconditions=[str(each) for each in playbook.required],
        steps=[str(each) for each in playbook.steps],
        verify=str(playbook.verify),
        last_run=_run(last) if last else None,
    )


def _preview(found: Preview) -> PreviewView:
    return PreviewView(refused=list(found.unmet), lines=list(found.lines))


def _run(run: Run) -> RunView:
    return RunView(
        id=run.id,
        playbook=run.playbook,
        actor=run.actor,
        reason=run.reason,
        incident_id=run.incident_id or None,
        started_at=rfc3339_of(run.started_at),
        ended_at=rfc3339_of(run.ended_at) if run.outcome is not Outcome.RUNNING else None,
        outcome=run.outcome.value,
        lines=list(run.lines),
    )
