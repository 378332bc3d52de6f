"""A person's channels: what is bound, in which order they are tried, and when they are left in peace. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

ROBOTS: Final = ("wecom", "dingtalk", "feishu")
"""Channels where a group robot speaks and mentions the person."""
EMAIL: Final = "email"
CHANNELS: Final = (*ROBOTS, EMAIL)
"""The order of a person who has not said another one. In-app stands before them all and is never missed."""
LANGUAGES: Final = ("zh", "en")
ROBOT_DEFAULT: Final = "default"

_ADDRESSES: Final = {
    **dict.fromkeys(ROBOTS, re.compile(r"[A-Za-z0-9_.@-]{1,64}")),
    EMAIL: re.compile(r"[^\s<>\x00-\x1f\x7f@]{1,64}@[^\s<>\x00-\x1f\x7f@]{1,180}", re.ASCII),
}


@dataclass(frozen=True, slots=True)
class Binding:
    """How a person is reached on a channel: a mail address, or the id or mobile a robot mentions."""

    channel: str
    address: str
    robot: str = ""
    """The group robot that speaks there, by its name; empty for mail."""
    by_directory: bool = False
    """It came with the person's record and nobody had to bind it."""

    @property
    def way(self) -> str:
        """What speaks: `wecom:default`, or `email`."""
        return f"{self.channel}:{self.robot}" if self.robot else self.channel


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a person chose. Everything is on until somebody switches it off (119)."""

    language: str = LANGUAGES[0]
    order: tuple[str, ...] = ()
    muted: frozenset[str] = frozenset()
    quiet_from: time | None = None
    quiet_to: time | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A person as the chain of channels sees them."""

    person_id: str
    name: str = ""
    supervisor_id: str = ""
    active: bool = True
    """Whoever has left is told nothing outside: customers' names are in it."""
    bindings: Mapping[str, Binding] = field(default_factory=dict)
    preferences: Preferences = field(default_factory=Preferences)

    def chain(self, *, critical: bool) -> tuple[Binding, ...]:
        """The bindings in the order they are tried. What is critical passes over switches (117, 119)."""
        said = self.preferences.order
        order = (*said, *(channel for channel in CHANNELS if channel not in said))
        return tuple(
            self.bindings[channel]
            for channel in order
            if channel in self.bindings and (critical or channel not in self.preferences.muted)
        )

    def quiet_until(self, now: datetime, zone: ZoneInfo) -> datetime | None:
        """When the quiet hours that `now` lies in end; None outside of them."""
        start, end = self.preferences.quiet_from, self.preferences.quiet_to
        if start is None or end is None or start == end:
            return None
        local = now.astimezone(zone)
        clock = local.time()
        within = start <= clock < end if start < end else clock >= start or clock < end
        if not within:
            return None
        day = local.date() + timedelta(days=1 if clock >= end else 0)
        return datetime.combine(day, end, zone).astimezone(now.tzinfo)


def fault_of(channel: str, address: str) -> str:
    """What is wrong with an address; empty where nothing is."""
    pattern = _ADDRESSES.get(channel)
    if pattern is None:
        return f"the channels are {', '.join(CHANNELS)}"
    return "" if pattern.fullmatch(address) else f"is no address of {channel}"
