"""The chain of channels a notification goes down until one takes it, and the limits of the robots on it. Pure.

A try that failed goes on to the next channel at once; a whole chain without success is one round, and rounds lie further and
further apart until they end. An outcome nobody knows is followed by one more message at most, which says so.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.notify.delivery.domain import OutgoingState

UNBOUND: Final = "no channel is bound"
LEFT: Final = "has left"
OFF: Final = "every channel is switched off or refuses it"
_HALF_HOUR: Final = timedelta(minutes=30)


class Outcome(StrEnum):
    """What became of one try."""

    DELIVERED = "delivered"
    """The provider said so in its body."""
    LATER = "later"
    """Push-back: it was not taken, and may be tried again after a while."""
    FAILED = "failed"
    """It was not taken, and may be tried again."""
    REFUSED = "refused"
    """This message will never be taken by that channel."""
    BROKEN = "broken"
    """The robot's key, sign or address, or the mail server's login, is refused: whoever else uses it is refused too."""
    UNKNOWN = "unknown"
    """It may have been taken: no answer, or one that says neither yes nor no."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, in the provider's words without secrets."""

    outcome: Outcome
    detail: str = ""
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """At most `count` messages in any `duration`."""

    count: int
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Rules:
    """Every figure of a chain."""

    limits: Mapping[str, Sequence[Window]] = field(default_factory=dict)
    """By channel."""
    guard: timedelta = timedelta(seconds=1)
    """Added to each window: how far the clocks of replicas and provider may be apart."""
    fail_over: timedelta = timedelta(seconds=5)
    """What has another channel does not wait longer than this for one."""
    rounds_max: int = 6
    backoff: timedelta = timedelta(seconds=2)
    """After the first round; each further one lasts four times as long, up to `backoff_max`."""
    backoff_max: timedelta = timedelta(minutes=10)
    doubt: timedelta = timedelta(minutes=1)
    """Before the repeat of a message of unknown outcome, where no other channel is left for it."""
    lease: timedelta = timedelta(seconds=20)
    """How long a replica may be at one message before another takes its outcome for unknown."""
    closed: timedelta = timedelta(minutes=10)
    """How long a robot whose key is refused is left alone."""
    rush: Mapping[str, timedelta] = field(default_factory=dict)
    """By channel: how long after each full and half hour what can wait stays away, as everybody's timetables send then."""

    @property
    def memory(self) -> timedelta:
        """How long an ended message still counts for some limit."""
        longest = max((window.duration for windows in self.limits.values() for window in windows), default=timedelta())
        return longest + self.guard


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a notification has come."""

    round: int = 0
    failed: frozenset[str] = frozenset()
    """Channels that failed in this round."""
    refused: frozenset[str] = frozenset()
    """Channels that will never take it."""
    doubtful: bool = False
    """An earlier try may have arrived."""

    def open(self, channels: Collection[str]) -> list[str]:
        """Those of `channels` that are still to be tried in this round, in order."""
        return [each for each in channels if each not in self.failed | self.refused]


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next."""

    state: OutgoingState
    standing: Standing
    due_at: datetime


def next_step(
    standing: Standing, channel: str, verdict: Verdict, chain: Sequence[str], now: datetime, rules: Rules
) -> Step:
    """After a try on `channel`."""
    outcome = verdict.outcome
    if outcome is Outcome.DELIVERED:
        return Step(OutgoingState.SENT, standing, now)
    if outcome is Outcome.UNKNOWN:
        if standing.doubtful:
            # The one repeat is spent.
            return Step(OutgoingState.UNKNOWN, standing, now)
        standing = replace(standing, doubtful=True)
    if outcome is Outcome.REFUSED:
        tried = replace(standing, refused=standing.refused | {channel})
    else:
        tried = replace(standing, failed=standing.failed | {channel})
    if tried.open(chain):
        return Step(OutgoingState.WAITING, tried, now)
    left = [each for each in chain if each not in tried.refused]
    if not left or tried.round + 1 >= rules.rounds_max:
        return Step(OutgoingState.UNKNOWN if tried.doubtful else OutgoingState.ENDED, tried, now)
    wait = max(min(rules.backoff * 4**tried.round, rules.backoff_max), timedelta(seconds=verdict.wait_s))
    if outcome is Outcome.UNKNOWN:
        # The one repeat on the same channel is not spent while the provider is still in the same trouble.
        wait = max(wait, rules.doubt)
    return Step(OutgoingState.WAITING, replace(tried, round=tried.round + 1, failed=frozenset()), now + wait)


@dataclass(frozen=True, slots=True)
class RobotState:
    """A robot as all replicas see it: what it said lately, and whether it is left alone."""

    spans: Sequence[tuple[datetime, datetime | None]] = ()
    """Beginning and end of its recent messages, None while one is in flight."""
    closed_until: datetime | None = None
    closed_at: datetime | None = None
    """When it was closed last."""

    def closed(self, now: datetime) -> bool:
        """Whether it is left alone."""
        return self.closed_until is not None and self.closed_until > now


def room_at(
    robot: RobotState, windows: Sequence[Window], now: datetime, guard: timedelta, *, critical: bool
) -> datetime:
    """When one more message keeps to every window; `now` where it does at once.

    A message may reach the provider at any moment until its end, so it counts from its end on. What is not critical leaves a
    tenth of a window free for what is.
    """
    room = max(now, robot.closed_until) if robot.closed_until else now
    for window in windows:
        busy, count = _busy(robot, window, now, guard), _count(window, critical=critical)
        if len(busy) >= count:
            room = max(room, busy[len(busy) - count])
    return room


def room_for(
    robot: RobotState, windows: Sequence[Window], now: datetime, guard: timedelta, *, critical: bool
) -> int | None:
    """How many messages more keep to every window at this moment; None without a limit."""
    if robot.closed(now):
        return 0
    rooms = (_count(window, critical=critical) - len(_busy(robot, window, now, guard)) for window in windows)
    room = min(rooms, default=None)
    return None if room is None else max(room, 0)


def calm_at(now: datetime, rush: timedelta) -> datetime:
    """`now`, or the end of the rush after a full or half hour that it lies in."""
    since = timedelta(minutes=now.minute, seconds=now.second, microseconds=now.microsecond) % _HALF_HOUR
    return now + max(rush - since, timedelta())


def _busy(robot: RobotState, window: Window, now: datetime, guard: timedelta) -> list[datetime]:
    """Until when each message counts that still does, the earliest first."""
    span = window.duration + guard
    return sorted(until for _, end in robot.spans if (until := (end or now) + span) > now)


def _count(window: Window, *, critical: bool) -> int:
    return window.count - (0 if critical else max(1, window.count // 10))
