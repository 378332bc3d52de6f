"""A fresh notify database, and notify before providers' stubs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from breakwater.chassis.database import Database, PoolLimits
from tests.support.notifying import Notifying
from tests.support.postbox import postbox as running_postbox
from tests.support.providers import stub_of


@pytest.fixture
async def database(fresh_database: Any) -> AsyncIterator[Database]:
    """A fresh notify database."""
    place = await fresh_database("notify")
    opened = await Database.open(place.dsn, service="notify")
    yield opened
    await opened.close()


@pytest.fixture
async def notifying(fresh_database: Any) -> AsyncIterator[Any]:
    """`await notifying(replicas=3, providers=("wecom",))`: replicas before stubs and a postbox."""
    place = await fresh_database("notify")
    async with AsyncExitStack() as stack:

        async def begin(*, replicas: int = 1, providers: Any = ("wecom", "dingtalk", "feishu"), **options: Any) -> Any:
            stubs = {}
            for provider in providers:
                stub = await stack.enter_async_context(stub_of(provider))
                stubs[stub.name] = stub
            box = await stack.enter_async_context(running_postbox())
            limits = PoolLimits(size_max=6, acquire_timeout_s=20)
            databases = [await Database.open(place.dsn, service="notify", limits=limits) for _ in range(replicas)]
            for opened in databases:
                stack.push_async_callback(opened.close)
            return Notifying(databases, stubs, box, stack, **options)

        yield begin
