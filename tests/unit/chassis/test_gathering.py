"""The pause in which a crowd gathers."""

from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.gathering import pause_s


def test_the_few_wait_no_longer_than_the_least():
    """A handful of events an instant is no crowd."""
    assert pause_s(6, 0.01) == 0.01


def test_a_crowd_waits_longer_so_that_more_share_a_turn():
    """Twenty at once: the next wait for more company."""
    assert 0.01 < pause_s(20, 0.01) < pause_s(25, 0.01)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0, 1))
def test_the_pause_grows_with_the_crowd_and_has_an_end(few, many, least_s):
    """Never below the least, never past four times it, never shorter for more."""
    few, many = sorted((few, many))
    assert least_s <= pause_s(few, least_s) <= pause_s(many, least_s) <= 4 * least_s
