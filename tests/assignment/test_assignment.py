"""No lead is lost or doubly assigned while replicas are killed: a sample of `make proof-assignment` (8, 116, 125)."""

from typing import Any

import pytest

from tests.assignment.audit import audit, replay_some
from tests.assignment.rounds import Processes, Round, Where, run_inside
from tests.assignment.worker import BUGS, POINTS, Replica

pytestmark = pytest.mark.capability(8, 116, 125)


@pytest.fixture
async def where(fresh_database: Any) -> Where:
    """A migrated, empty database of leads."""
    made = await fresh_database("leads")
    return Where(made.url, made.password, made.admin_dsn)


async def test_replicas_killed_at_every_point_lose_and_double_nothing(where: Where) -> None:
    """Three processes, kill -9 at each named point, people and rules changing meanwhile: all leads are there once, with
    one owner, and decisions come out the same when they are made again."""
    round_ = Round(leads=600, processes=3, lanes=6, kills=len(POINTS), job_leads_max=10, seed=1)
    seen = await Processes(where, round_).run()
    assert seen.problems + await audit(where.admin_dsn, seen.told, round_.leads) == []
    # The last replicas to start may find nothing left to die at.
    assert seen.killed.total() >= len(POINTS) - round_.processes + 1, seen.killed
    assert seen.changes["rules"] + seen.changes["people"] > 0, seen.changes
    replica = await Replica.open(where.url, where.password, size=2)
    replayed, differing = await replay_some(where.admin_dsn, replica, 200)
    await replica.database.close()
    assert (replayed, differing) == (200, [])


FOUND_BY = {
    "ledger-not-locked": "a load that does not add up",
    "customers-not-locked": "a customer with two owners",
    "keys-forgotten": "leads are there that nobody was told of",
    "told-before-commit": "was told to be",
}
"""What of the audit finds each bug."""


def test_each_bug_has_something_that_finds_it() -> None:
    """None is planted without a look for it."""
    assert set(FOUND_BY) == set(BUGS)


@pytest.mark.parametrize("bug", ["", *BUGS])
async def test_a_replica_with_a_bug_is_found_and_one_without_is_not(where: Where, bug: str) -> None:
    """The audit finds a ledger or customers read without their locks, forgotten keys, and an answer before the commit."""
    round_ = Round(leads=300, processes=2, lanes=6, kills=2 * len(POINTS), job_leads_max=10, seed=2, bug=bug)
    seen = await run_inside(where, round_)
    problems = seen.problems + await audit(where.admin_dsn, seen.told, round_.leads)
    if bug:
        assert any(FOUND_BY[bug] in problem for problem in problems), problems
    else:
        assert problems == []
