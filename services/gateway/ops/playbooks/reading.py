"""Playbooks from their files: strictly, every problem by its place. What is wrong is shown, and never run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from services.gateway.ops.overrides.domain import CHAOS, MODES, TTL_S_MAX
from services.gateway.ops.playbooks.domain import (
    CircuitIs,
    Command,
    Condition,
    DeadLetters,
    IncidentOpen,
    Lay,
    Lift,
    Notify,
    NotOverridden,
    Overridden,
    Playbook,
    Replay,
    RollBack,
    Step,
    Verify,
)

PLAYBOOKS_MAX = 100
STEPS_MAX = 20
WAIT_S_MAX = 600.0
LETTERS_MAX = 1_000
NOTE_CHARS_MAX = 500
_STATES = ("closed", "half-open", "open", "not-closed")
_MODES = tuple(mode for mode in MODES if mode != CHAOS)
_ROLES = ("oncall", "sre")
_OWN = "gateway"
"""Its release holds the ops process too: a run cannot outlive being replaced."""

_MISSING = object()


class WrongPlaybookError(ValueError):
    """A file is not a playbook; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Library:
    """The playbooks by name; `refused` are files that cannot be run, with what is wrong with each."""

    playbooks: Mapping[str, Playbook] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def read(folder: Path | None) -> Library:
    """Every `*.yaml` of a folder. A wrong file does not keep the others from being used."""
    playbooks: dict[str, Playbook] = {}
    refused: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml"))[:PLAYBOOKS_MAX] if folder else ():
        try:
            playbooks[path.stem] = parse(path.stem, yaml.safe_load(path.read_text()))
        except (WrongPlaybookError, yaml.YAMLError, OSError) as error:
            refused[path.name] = str(error)
    return Library(playbooks, refused)


def parse(name: str, document: Any) -> Playbook:
    """One file's content. Raises `WrongPlaybookError`."""
    given = _Fields("", document)
    trigger = given.take("trigger", lambda place, value: _condition(place, {"incident": value}), None)
    playbook = Playbook(
        name=name,
        title=given.take("title", _text),
        why=given.take("why", _text),
        trigger=trigger if isinstance(trigger, IncidentOpen) else None,
        automatic=given.take("automatic", _flag, False),
        for_s=given.take("for_s", _seconds, 5.0),
        pause_s=given.take("pause_s", _seconds, 300.0),
        role=given.take("role", _one_of(_ROLES), "oncall"),
        preconditions=given.take("preconditions", _list_of(_condition), ()),
        steps=given.take("steps", _list_of(_step)),
        verify=given.take("verify", _verify),
    )
    given.end()
    _check(playbook)
    return playbook


def _check(playbook: Playbook) -> None:
    commands = [step for step in playbook.steps if isinstance(step, Command)]
    if not playbook.steps or len(playbook.steps) > STEPS_MAX:
        raise WrongPlaybookError(f"steps: 1 to {STEPS_MAX}")
    if playbook.automatic and playbook.trigger is None:
        raise WrongPlaybookError("automatic: needs a trigger")
    if playbook.automatic and commands:
        raise WrongPlaybookError(f"automatic: {commands[0]} cannot be undone, somebody has to press it")
    for index, step in enumerate(playbook.steps):
        if isinstance(step, RollBack) and not any(isinstance(before, Lay) for before in playbook.steps[:index]):
            raise WrongPlaybookError(f"steps[{index}].roll_back: nothing is laid before it")
    if any(step.what in {"deploy-pin", "gate"} for step in commands) and playbook.role != "sre":
        raise WrongPlaybookError("role: deploying and the gate are for sre")


class _Fields:
    """The keys of a mapping, each taken once; `end` refuses what is left."""

    def __init__(self, place: str, document: Any) -> None:
        if not isinstance(document, dict):
            raise WrongPlaybookError(f"{place or 'the file'}: a mapping is needed")
        self._place = place
        self._left = dict(document)

    def take(self, key: str, read: Callable[[str, Any], Any], default: Any = _MISSING) -> Any:
        """The value as `read` has it. Raises `WrongPlaybookError` when it is missing without a default."""
        place = f"{self._place}.{key}" if self._place else key
        if key not in self._left:
            if default is not _MISSING:
                return default
            raise WrongPlaybookError(f"{place}: is missing")
        return read(place, self._left.pop(key))

    def end(self) -> None:
        for key in self._left:
            raise WrongPlaybookError(f"{self._place + '.' if self._place else ''}{key}: is not known")


def _only(place: str, value: Any) -> tuple[str, _Fields]:
    if not isinstance(value, dict) or len(value) != 1:
        raise WrongPlaybookError(f"{place}: one kind and its fields")
    [(kind, fields)] = value.items()
    return str(kind), _Fields(f"{place}.{kind}", fields)


def _condition(place: str, value: Any) -> Condition:
    kind, given = _only(place, value)
    made: Condition
    match kind:
        case "incident":
            made = IncidentOpen(given.take("alert", _text), given.take("dependency", _text))
        case "circuit":
            state = given.take("state", _one_of(_STATES))
            made = CircuitIs(given.take("caller", _text), given.take("dependency", _text), state)
        case "not_overridden":
            made = NotOverridden(given.take("dependency", _text), given.take("caller", _text, ""))
        case "overridden":
            mode = given.take("mode", _one_of(_MODES))
            made = Overridden(given.take("dependency", _text), given.take("caller", _text, ""), mode)
        case "dead_letters":
            made = DeadLetters(given.take("least", _whole, 0), given.take("most", _whole, LETTERS_MAX**2))
        case _:
            raise WrongPlaybookError(f"{place}: {kind} is no condition")
    given.end()
    return made


def _step(place: str, value: Any) -> Step:
    kind, given = _only(place, value)
    made: Step
    match kind:
        case "override" | "fallback":
            made = _lay(f"{place}.{kind}", kind, given)
        case "lift":
            made = Lift(given.take("dependency", _text), given.take("caller", _text, ""))
        case "replay_dead_letters":
            made = Replay(given.take("max", _at_most(LETTERS_MAX)))
        case "notify":
            made = Notify(given.take("text", _note))
        case "roll_back":
            made = RollBack()
        case "deploy_pin" | "run_gate" | "restart":
            what = {"deploy_pin": "deploy-pin", "run_gate": "gate", "restart": "restart"}[kind]
            made = Command(what, given.take("service", _text))
            if made.service in {_OWN, "ops"} and what != "gate":
                raise WrongPlaybookError(f"{place}.{kind}: not of the process that runs it")
        case "verify":
            return _verify(f"{place}.{kind}", value[kind])
        case _:
            raise WrongPlaybookError(f"{place}: {kind} is no step")
    given.end()
    return made


def _lay(place: str, kind: str, given: "_Fields") -> Lay:
    mode = "fallback" if kind == "fallback" else given.take("mode", _one_of(_MODES))
    ttl_s = given.take("ttl_s", _seconds)
    if not 0 < ttl_s <= TTL_S_MAX:
        raise WrongPlaybookError(f"{place}.ttl_s: above 0, at most {TTL_S_MAX}")
    return Lay(given.take("dependency", _text), given.take("caller", _text, ""), mode, ttl_s)


def _verify(place: str, value: Any) -> Verify:
    given = _Fields(place, value)
    within_s = given.take("within_s", _seconds)
    conditions = given.take("conditions", _list_of(_condition))
    hold_s = given.take("hold_s", _seconds, 0.0)
    given.end()
    if not conditions:
        raise WrongPlaybookError(f"{place}.conditions: at least one")
    if within_s > WAIT_S_MAX:
        raise WrongPlaybookError(f"{place}.within_s: at most {WAIT_S_MAX:g}")
    if hold_s >= within_s:
        raise WrongPlaybookError(f"{place}.hold_s: less than within_s")
    return Verify(within_s, conditions, hold_s)


def _list_of(read: Callable[[str, Any], Any]) -> Callable[[str, Any], tuple[Any, ...]]:
    def whole(place: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise WrongPlaybookError(f"{place}: a list is needed")
        return tuple(read(f"{place}[{index}]", each) for index, each in enumerate(value))

    return whole


def _one_of(words: tuple[str, ...]) -> Callable[[str, Any], str]:
    def word(place: str, value: Any) -> str:
        if value not in words:
            raise WrongPlaybookError(f"{place}: one of {', '.join(words)}")
        return str(value)

    return word


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise WrongPlaybookError(f"{place}: a text is needed")
    return value.strip()


def _note(place: str, value: Any) -> str:
    text = _text(place, value)
    if len(text) > NOTE_CHARS_MAX:
        raise WrongPlaybookError(f"{place}: at most {NOTE_CHARS_MAX} characters")
    return text


def _flag(place: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongPlaybookError(f"{place}: true or false")
    return value


def _seconds(place: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise WrongPlaybookError(f"{place}: seconds, 0 or more")
    return float(value)


def _whole(place: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WrongPlaybookError(f"{place}: a whole number, 0 or more")
    return value


def _at_most(most: int) -> Callable[[str, Any], int]:
    def number(place: str, value: Any) -> int:
        whole = _whole(place, value)
        if not 0 < whole <= most:
            raise WrongPlaybookError(f"{place}: 1 to {most}")
        return whole

    return number
