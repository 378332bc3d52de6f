"""What candidates are run beside."""

from collections.abc import AsyncIterator

import pytest

from breakwater.compat import world
from breakwater.compat.world import World


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[World]:
    """A NATS and a PostgreSQL for every process of a module."""
    async with world.opened() as opened:
        yield opened
