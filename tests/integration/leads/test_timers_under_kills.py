"""A seeded sample of `make proof-timers`: kill -9 of processes that fire timers and tell silences."""

import asyncpg
import pytest

from tests.timers.trial import Plan, judge, run


@pytest.mark.timeout(300)
@pytest.mark.capability(5, 117)
async def test_killed_replicas_neither_lose_nor_double_a_timer(fresh_database) -> None:
    """However late they are on a busy machine, every one is told, once, and none before its time."""
    where = await fresh_database("leads")
    plan = Plan(timers=600, window_s=4.0, replicas=2, kills=2, seed=5)
    outcome = await run(plan, where.url, where.password_file, where.admin_dsn)
    assert outcome.problems == []
    assert (outcome.due, outcome.kills) == (600, 2)
    # And the judge would have seen it: one row is taken away, one is there twice.
    admin = await asyncpg.connect(where.admin_dsn)
    await admin.execute("SET search_path = leads, public")
    await admin.execute("DELETE FROM outbox WHERE position = (SELECT min(position) FROM outbox)")
    await admin.execute(
        """
        INSERT INTO outbox (id, type, subject_id, sequence, payload)
        SELECT gen_random_uuid(), type, subject_id, sequence, payload FROM outbox ORDER BY position DESC LIMIT 1
        """
    )
    meddled = await judge(admin, plan)
    await admin.close()
    assert (meddled.lost, meddled.doubled, len(meddled.problems)) == (1, 1, 3), meddled
