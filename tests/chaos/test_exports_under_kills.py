"""kill -9 while exports are made: none lost, none doubled, none half a file. All moments: `make proof-exports`."""

import pytest

from tests.exportkills.rounds import VICTIMS, Requester, Round, fill

pytestmark = [pytest.mark.capability(36, 37, 39), pytest.mark.timeout(300)]
ROWS = 25_000
"""More than a quick slot takes, so that both kinds are hit."""


@pytest.fixture(scope="module")
def requester(platform):
    fill(platform, ROWS)
    return Requester(platform)


@pytest.mark.parametrize("victim", VICTIMS)
def test_exports_outlive_whoever_makes_them(requester, victim):
    """Each that was asked for is there in the end, with every row, delivered once; a key leads to the same one."""
    seen = requester.run(Round(victim, "running"))
    assert seen.problems == []
    assert sum(seen.engines.values()) >= 4
