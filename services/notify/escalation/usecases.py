"""Taking what is due for a person as one message, and recording what became of it. Any number of replicas may."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from breakwater.chassis.ids import uuid7
from services.notify.channels.domain import EMAIL, Binding, Profile
from services.notify.delivery.domain import OutgoingState
from services.notify.delivery.notices import UNREACHABLE, Notice, unreachable
from services.notify.digests.domain import Text, compose
from services.notify.escalation.domain import (
    LEFT,
    OFF,
    UNBOUND,
    Outcome,
    RobotState,
    Rules,
    Standing,
    Step,
    Verdict,
    calm_at,
    next_step,
    room_at,
)
from services.notify.templates.domain import Wordbook


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notification that is due to leave; its row is locked until the transaction ends."""

    notification_id: str
    kind: str
    title: str
    body: str
    critical: bool
    loud: bool
    """A warning, or critical: somebody must hear of its end."""
    patient: bool
    """It comes by a timetable, or has waited for others: a minute more is nothing."""
    standing: Standing


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message in flight: a lease of this replica."""

    message_id: str
    binding: Binding
    text: Text
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class InFlight:
    """A message whose outcome is to be recorded, with what it carries."""

    message_id: str
    person_id: str
    channel: str
    robot: str
    items: Sequence[Waiting]


class Chain(Protocol):
    """What one open transaction offers."""

    async def profile(self, person_id: str) -> Profile: ...

    async def words(self) -> Wordbook: ...

    async def take_due(self, person_id: str, now: datetime) -> list[Waiting]:
        """What waits for the person, the most urgent first; nothing while another replica is at it."""
        ...

    async def robots(self, robots: Sequence[str], since: datetime) -> Mapping[str, RobotState]:
        """Each of these robots, locked."""
        ...

    async def postpone(self, items: Sequence[Waiting], due_at: datetime) -> None: ...

    async def wait_for(self, items: Sequence[Waiting], robot: str, since: datetime) -> None:
        """They are asked again when the robot has room."""
        ...

    async def send(self, parcel: Parcel, person_id: str, items: Sequence[Waiting], now: datetime) -> None:
        """Records the message as in flight."""
        ...

    async def in_flight(self, message_id: str) -> InFlight | None:
        """A message, locked; None when its outcome was recorded already."""
        ...

    async def settle(
        self, message: InFlight, verdict: Verdict, steps: Sequence[tuple[Waiting, Step]], now: datetime
    ) -> None:
        """Records the outcome of a message, and what comes next for each of its notifications."""
        ...

    async def skip(self, items: Sequence[Waiting], detail: str, now: datetime) -> None:
        """Records that nothing can be sent."""
        ...

    async def close_robot(self, robot: str, until: datetime, problem: str, now: datetime) -> None:
        """Leaves it alone until then; a problem shows as a finding until the robot takes a message again."""
        ...

    async def healed(self, robot: str) -> None: ...

    async def tell(self, notices: Sequence[Notice], now: datetime) -> None: ...


Begin = Callable[[], AbstractAsyncContextManager[Chain]]


async def take_parcel(begin: Begin, person_id: str, now: datetime, rules: Rules, zone: ZoneInfo) -> Parcel | None:
    """The next message to a person, in flight once this returns; None where nothing can be sent to them now."""
    async with begin() as chain:
        items = await chain.take_due(person_id, now)
        if not items:
            return None
        # What is critical goes by itself: it must not stand in the middle of a list, nor wait for quiet hours to end.
        items = [each for each in items if each.critical is items[0].critical]
        critical = items[0].critical
        profile = await chain.profile(person_id)
        bindings = {each.channel: each for each in profile.chain(critical=critical) if profile.active}
        quiet_until = None if critical else profile.quiet_until(now, zone)
        if quiet_until is not None:
            rush = max((rules.rush.get(each, timedelta()) for each in bindings), default=timedelta())
            await chain.postpone(items, calm_at(quiet_until, rush))
            return None
        channels = items[0].standing.open(list(bindings))
        if not channels:
            await _give_up(chain, profile, items, now)
            return None
        # An earlier try that may have arrived is marked, and what is new is not to stand under that mark.
        doubtful = items[0].standing.doubtful
        items = [
            each
            for each in items
            if each.standing.open(list(bindings)) == channels and each.standing.doubtful is doubtful
        ]
        binding, free_at = await _way(chain, [bindings[each] for each in channels], now, rules, critical=critical)
        if free_at > now:
            if critical and len(channels) > 1:
                # Another channel may have room before this one is really free.
                await chain.postpone(items, free_at)
            else:
                await chain.wait_for(items, binding.way, now)
            return None
        calm = calm_at(now, rules.rush.get(binding.channel, timedelta()))
        if calm > now and all(each.patient for each in items):
            await chain.postpone(items, calm)
            return None
        text = compose(
            [Text(each.title, each.body) for each in items],
            await chain.words(),
            profile.preferences.language,
            doubtful=doubtful,
        )
        parcel = Parcel(uuid7(), binding, text, now + rules.lease)
        await chain.send(parcel, person_id, items, now)
        return parcel


async def record(begin: Begin, message_id: str, verdict: Verdict, now: datetime, rules: Rules) -> None:
    """What became of a message; nothing where that was recorded already."""
    async with begin() as chain:
        message = await chain.in_flight(message_id)
        if message is None:
            return
        profile = await chain.profile(message.person_id)
        critical = any(each.critical for each in message.items)
        channels = [each.channel for each in profile.chain(critical=critical)]
        steps = [
            (each, next_step(each.standing, message.channel, verdict, channels, now, rules)) for each in message.items
        ]
        await chain.settle(message, verdict, steps, now)
        if verdict.outcome is Outcome.LATER and message.channel != EMAIL:
            # A robot pushes back for all it says; a mail server mostly for one mailbox, and its circuit knows the rest.
            await chain.close_robot(message.robot, now + timedelta(seconds=verdict.wait_s), "", now)
        elif verdict.outcome is Outcome.BROKEN:
            await chain.close_robot(message.robot, now + rules.closed, verdict.detail, now)
        elif verdict.outcome is Outcome.DELIVERED:
            await chain.healed(message.robot)
        lost = [each for each, step in steps if step.state in {OutgoingState.ENDED, OutgoingState.UNKNOWN}]
        if any(each.loud for each in lost):
            await chain.tell(_to_supervisor(profile, lost, verdict.detail, message.message_id), now)


async def _way(
    chain: Chain, bindings: Sequence[Binding], now: datetime, rules: Rules, *, critical: bool
) -> tuple[Binding, datetime]:
    """The channel to use and when it has room.

    The first of the chain, unless it is closed, or full for what is critical, for longer than a fail-over may take: then the
    first that has room. Without any the one that has room soonest.
    """
    states = await chain.robots(sorted(each.way for each in bindings), now - rules.memory)
    ways: list[tuple[Binding, datetime]] = []
    for binding in bindings:
        state = states.get(binding.way, RobotState())
        free_at = room_at(state, rules.limits.get(binding.channel, ()), now, rules.guard, critical=critical)
        ways.append((binding, free_at))
        if free_at <= now or not (state.closed(now) or critical):
            # What is not critical waits for a robot that is only busy, and gathers meanwhile.
            return binding, free_at
        if free_at - now <= rules.fail_over:
            return binding, free_at
    return min(ways, key=lambda way: way[1])


async def _give_up(chain: Chain, profile: Profile, items: Sequence[Waiting], now: datetime) -> None:
    unbound = profile.active and not profile.bindings
    reason = UNBOUND if unbound else OFF if profile.active else LEFT
    await chain.skip(items, reason, now)
    loud = any(each.loud for each in items)
    if loud or unbound:
        # Of somebody unbound the supervisor hears once a day, unless it is loud.
        key = items[0].notification_id if loud else f"{profile.person_id}:{now.date()}"
        await chain.tell(_to_supervisor(profile, items, reason, key), now)


def _to_supervisor(profile: Profile, items: Sequence[Waiting], reason: str, key: str) -> list[Notice]:
    # One step up and no further: two who supervise each other would tell each other for ever.
    told = [each for each in items if each.kind != UNREACHABLE]
    if not told or not profile.supervisor_id or profile.supervisor_id == profile.person_id:
        return []
    return [
        unreachable(
            supervisor_id=profile.supervisor_id,
            person_id=profile.person_id,
            name=profile.name or profile.person_id,
            titles=[each.title for each in told],
            reason=reason,
            key=key,
            critical=any(each.critical for each in told),
        )
    ]
