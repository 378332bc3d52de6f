"""Puts a bug into the policies for the time of a block."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, Final

Plant = Callable[[], AbstractContextManager[None]]
PLANTED: Final[dict[str, Plant]] = {}


class Swap:
    """Replaces attributes and puts them back."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def __call__(self, owner: Any, name: str, value: Any) -> None:
        self._before.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, value)

    def back(self) -> None:
        while self._before:
            setattr(*self._before.pop())


def planted(plant: Callable[[Swap], None]) -> Plant:
    """Registers a bug under the name of its function."""

    @contextmanager
    @wraps(plant)
    def context() -> Iterator[None]:
        swap = Swap()
        plant(swap)
        try:
            yield
        finally:
            swap.back()

    PLANTED[plant.__name__] = context
    return context
