"""Durations as people write them: 90s, 15m, 1h, 7d."""

import re

import click

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Duration(click.ParamType[int]):
    """Whole seconds from a number and a unit."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds; a bare number is refused, for nobody knows its unit."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,9})([smhd])", value.strip())
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} is no duration; write 90s, 15m, 1h or 7d", param, ctx)
        return int(found[1]) * SECONDS[found[2]]
