"""How far an export is, as server-sent events, for whoever waits for it."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec
from typing_extensions import TypedDict

from breakwater.chassis.clock import Clock
from services.gateway.exports.domain import Export

LOOK_S: Final = 0.5
"""Between two looks at the export's row: progress comes there every 0.2 to 2 s (`Patience`)."""
BEAT_S: Final = 10.0
"""A quiet stream says this often that it is alive: a waiter that left is noticed when something is sent."""
STREAM_S_MAX: Final = 600.0
"""Then it ends, and a waiter connects again."""


class ProgressView(TypedDict):
    """One event. `percent` and `time_left_s` are null while nobody can tell: no row yet, or none more since the first look."""

    state: str
    rows_done: int
    rows_total: int
    percent: int | None
    time_left_s: float | None


async def progress_events(
    export: Export, look: Callable[[], Awaitable[Export]], clock: Clock, serving: Callable[[], bool]
) -> AsyncGenerator[bytes, None]:
    """An event `progress` at once and whenever something changed, until the export has ended.

    It also ends while we do not serve any more and after ten minutes. Raises what `look` raises.
    """
    began_s = clock.monotonic()
    first, said, said_s = export, b"", began_s
    while True:
        now_s = clock.monotonic()
        event = _event(export, first, now_s - began_s)
        if event != said:
            said, said_s = event, now_s
            yield event
        elif now_s - said_s >= BEAT_S:
            said_s = now_s
            yield b": waiting\n\n"
        if not export.is_open or not serving() or now_s - began_s >= STREAM_S_MAX:
            return
        await clock.sleep(LOOK_S)
        export = await look()


def _event(export: Export, first: Export, watched_s: float) -> bytes:
    done, total = export.rows_done, export.rows_total
    more = done - first.rows_done
    view = ProgressView(
        state=export.state.value,
        rows_done=done,
        rows_total=total,
        percent=min(100, 100 * done // total) if total else None,
        time_left_s=round((total - done) / (more / watched_s), 1)
        if more > 0 and watched_s > 0 and export.is_open
        else None,
    )
    return b"event: progress\ndata: " + msgspec.json.encode(view) + b"\n\n"
