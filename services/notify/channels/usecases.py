"""Binding people to channels, what they wish of them, and who cannot be reached."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from services.notify.channels.domain import (
    CHANNELS,
    LANGUAGES,
    ROBOT_DEFAULT,
    ROBOTS,
    Binding,
    Preferences,
    Profile,
    fault_of,
)

FINDINGS_DEFAULT: Final = 50
FINDINGS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps messages from people: `unbound` with a person, or `robot` with a robot and its problem."""

    kind: str
    subject: str
    detail: str


class Bindings(Protocol):
    """Where bindings are kept; a change is told by `BindingChanged`."""

    async def profile(self, person_id: str) -> Profile: ...

    async def is_mate(self, person_id: str, mate_id: str) -> bool: ...

    async def bind(self, person_id: str, binding: Binding, now: datetime) -> None: ...

    async def unbind(self, person_id: str, channel: str, now: datetime) -> bool: ...

    async def prefer(self, person_id: str, wish: Preferences) -> None: ...

    async def findings(self, after: str, limit: int) -> list[Finding]: ...


@dataclass(frozen=True, slots=True)
class Channels:
    """The verbs of this capability.

    A person changes their own channels; managers those of their team and of whom they supervise; administrators everybody's.
    """

    bindings: Bindings
    ways: Collection[str]
    """What can speak here: `wecom:default`, `email`."""
    clock: Clock

    async def show(self, actor: Actor, person_id: str) -> Profile:
        """Raises `NotFoundError` for somebody the actor may not see."""
        await self._require_sight(actor, person_id)
        return await self.bindings.profile(person_id)

    async def bind(self, actor: Actor, person_id: str, channel: str, address: str, robot: str) -> Profile:
        """Binds, or binds anew. Raises `InvalidRequestError` naming the fields, `NotFoundError`, `PermissionDeniedError`."""
        await self._require_sight(actor, person_id)
        fault = fault_of(channel, address)
        faults = [FieldError("address" if channel in CHANNELS else "channel", fault)] if fault else []
        binding = Binding(channel, address, (robot or ROBOT_DEFAULT) if channel in ROBOTS else "")
        if not faults and binding.way not in self.ways:
            faults = [FieldError("robot" if binding.robot else "channel", f"{binding.way} is not set up here")]
        if faults:
            raise InvalidRequestError("the channel cannot be bound like this", errors=faults)
        await self.bindings.bind(person_id, binding, self.clock.now())
        return await self.bindings.profile(person_id)

    async def unbind(self, actor: Actor, person_id: str, channel: str) -> Profile:
        """Raises `NotFoundError` where it was not bound."""
        await self._require_sight(actor, person_id)
        if not await self.bindings.unbind(person_id, channel, self.clock.now()):
            raise NotFoundError("that channel is not bound")
        return await self.bindings.profile(person_id)

    async def prefer(self, actor: Actor, person_id: str, wish: Preferences) -> Profile:
        """Replaces language, order, switches and quiet hours. Raises `InvalidRequestError` naming the fields."""
        await self._require_sight(actor, person_id)
        faults = []
        if wish.language not in LANGUAGES:
            faults.append(FieldError("language", f"is one of {', '.join(LANGUAGES)}"))
        for field, channels in (("order", wish.order), ("muted", wish.muted)):
            if set(channels) - set(CHANNELS) or len(set(channels)) != len(channels):
                faults.append(FieldError(field, f"holds each of {', '.join(CHANNELS)} at most once"))
        if (wish.quiet_from is None) != (wish.quiet_to is None):
            faults.append(FieldError("quiet_to", "quiet hours have a beginning and an end"))
        if faults:
            raise InvalidRequestError("the preferences cannot be kept as they are", errors=faults)
        await self.bindings.prefer(person_id, wish)
        return await self.bindings.profile(person_id)

    async def findings(self, actor: Actor, after: str, limit: int) -> list[Finding]:
        """Robots that refuse, then people no robot reaches, by id (119). Raises `PermissionDeniedError`."""
        if actor.scope is not Scope.ALL:
            raise PermissionDeniedError("findings are for those who see everybody")
        if not 0 <= limit <= FINDINGS_MAX:
            raise InvalidRequestError("limit is out of range", errors=[FieldError("limit", f"1 to {FINDINGS_MAX}")])
        return await self.bindings.findings(after, limit or FINDINGS_DEFAULT)

    async def _require_sight(self, actor: Actor, person_id: str) -> None:
        if actor.sub == person_id or actor.scope is Scope.ALL:
            return
        steers = actor.role is Role.MANAGER and actor.scope is Scope.TEAM
        if not (steers and await self.bindings.is_mate(actor.sub, person_id)):
            raise NotFoundError("there is no such person")
