"""Progress bars on standard error, for a person who watches; nothing otherwise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from breakwater.cli.options import Options

Advance = Callable[[int, int], None]
"""Called with what is done and what there is to do; 0 while that is unknown."""


@contextmanager
def bar(options: Options, title: str) -> Iterator[Advance]:
    """A bar for the block's time."""
    if not options.interactive:
        yield lambda _done, _total: None
        return
    # Imported here: scripts see no bar and do not pay for it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)
