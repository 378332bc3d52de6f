"""A seeded sample of `make proof-timers`: kill -9 of processes that fire timers and tell silences."""

import pytest

from tests.timers.trial import Plan, run


@pytest.mark.timeout(300)
@pytest.mark.capability(5, 117)
async def test_killed_replicas_neither_lose_nor_double_a_timer(fresh_database) -> None:
    """However late they are on a busy machine, every one is told, once, and none before its time."""
    where = await fresh_database("leads")
    plan = Plan(timers=600, window_s=4.0, replicas=2, kills=2, seed=5)
    outcome = await run(plan, where.url, where.password_file, where.admin_dsn)
    assert outcome.problems == []
    assert (outcome.due, outcome.kills) == (600, 2)
