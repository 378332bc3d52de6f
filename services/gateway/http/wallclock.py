"""Hours as people write them: `09:00` on the wall clock of a team's zone."""

from typing import Annotated

from pydantic import StringConstraints

Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]
"""On the wall clock of the team's zone."""


def minute_of(clock: str) -> int:
    """The minute of the day."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def clock_of(minute: int) -> str:
    """What the clock shows at a minute of the day; 24:00 at its end."""
    return f"{minute // 60:02d}:{minute % 60:02d}"
