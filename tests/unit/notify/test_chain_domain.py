"""The rules of the chain: it always ends, repeats once at most, and a robot's limit is kept whatever answers come."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.channels.domain import CHANNELS, Binding, Preferences, Profile, fault_of
from services.notify.delivery.domain import OutgoingState
from services.notify.escalation.domain import (
    Outcome,
    RobotState,
    Rules,
    Standing,
    Verdict,
    Window,
    calm_at,
    next_step,
    room_at,
    room_for,
)
from tests.support.notifying import SHANGHAI

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
RULES = Rules()
MINUTE = timedelta(minutes=1)


def verdicts():
    """Any answers, in any order."""
    return st.lists(
        st.sampled_from([each for each in Outcome if each is not Outcome.DELIVERED]), min_size=200, max_size=200
    )


@given(outcomes=verdicts(), count=st.integers(1, 4))
def test_a_chain_ends_whatever_its_channels_say(outcomes, count):
    """In bounded tries, never twice on one channel within a round, time never running back, one marked repeat at most."""
    chain = CHANNELS[:count]
    standing, now, unknown, tries = Standing(), NOW, 0, []
    for outcome in outcomes:
        channel = standing.open(chain)[0]
        assert (standing.round, channel) not in tries
        tries.append((standing.round, channel))
        marked = standing.doubtful
        unknown += outcome is Outcome.UNKNOWN
        step = next_step(standing, channel, Verdict(outcome, wait_s=60.0), chain, now, RULES)
        assert step.due_at >= now
        assert not (marked and outcome is Outcome.UNKNOWN and step.state is OutgoingState.WAITING)
        if step.state is not OutgoingState.WAITING:
            break
        standing, now = step.standing, step.due_at
    else:
        pytest.fail(f"still going after {len(tries)} tries")
    assert unknown <= 2
    assert (step.state is OutgoingState.UNKNOWN) == (unknown > 0)
    assert len(tries) <= RULES.rounds_max * count


@given(outcome=st.sampled_from([Outcome.REFUSED, Outcome.BROKEN, Outcome.FAILED, Outcome.LATER, Outcome.UNKNOWN]))
def test_the_next_channel_has_it_at_once(outcome):
    """No failure of one channel makes another wait."""
    step = next_step(Standing(), "wecom", Verdict(outcome, wait_s=600.0), ["wecom", "email"], NOW, RULES)
    assert (step.state, step.due_at, step.standing.open(["wecom", "email"])) == (OutgoingState.WAITING, NOW, ["email"])


def test_what_every_channel_refuses_ends_without_another_round():
    """Waiting mends no wrong address."""
    step = next_step(Standing(), "email", Verdict(Outcome.REFUSED), ["email"], NOW, RULES)
    assert step.state is OutgoingState.ENDED


@given(
    gaps=st.lists(st.floats(0, 20), min_size=60, max_size=60),
    lasts=st.lists(st.floats(0, 10), min_size=60, max_size=60),
)
def test_no_window_holds_more_than_its_limit_whenever_messages_arrive(gaps, lasts):
    """Each message may arrive at any moment between its beginning and its end, and clocks may be a guard apart."""
    window = Window(20, MINUTE)
    spans, now = [], NOW
    for gap, duration in zip(gaps, lasts, strict=True):
        now += timedelta(seconds=gap)
        while (room := room_at(RobotState(spans), [window], now, RULES.guard, critical=True)) > now:
            now = room
        spans.append((now, now + timedelta(seconds=duration)))
    for _, end in spans:
        # The worst case: those that began before have arrived as late as they may, and those after at once.
        assert sum(begin <= end + MINUTE and other >= end for begin, other in spans) <= window.count


def test_a_tenth_of_a_window_is_kept_for_what_is_critical():
    """Eighteen messages fill twenty a minute for what is not."""
    spans = [(NOW, NOW)] * 18
    window = [Window(20, MINUTE)]
    assert room_at(RobotState(spans), window, NOW, RULES.guard, critical=True) == NOW
    assert room_at(RobotState(spans), window, NOW, RULES.guard, critical=False) == NOW + MINUTE + RULES.guard
    assert room_for(RobotState(spans), window, NOW, RULES.guard, critical=True) == 2
    assert room_for(RobotState(spans), window, NOW, RULES.guard, critical=False) == 0
    assert room_for(RobotState(spans), (), NOW, RULES.guard, critical=False) is None
    assert room_for(RobotState((), NOW + MINUTE), window, NOW, RULES.guard, critical=True) == 0


def test_switches_take_a_channel_from_a_chain_and_critical_puts_it_back():
    """The order is the person's, then the usual one."""
    bindings = {channel: Binding(channel, "x") for channel in ("email", "wecom", "feishu")}
    profile = Profile("anna", bindings=bindings, preferences=Preferences(order=("email",), muted=frozenset({"wecom"})))
    assert [each.channel for each in profile.chain(critical=False)] == ["email", "feishu"]
    assert [each.channel for each in profile.chain(critical=True)] == ["email", "wecom", "feishu"]


@given(minutes=st.integers(0, 24 * 60 - 1), start=st.times(), end=st.times())
def test_quiet_hours_end_within_a_day_and_never_before_now(minutes, start, end):
    """Over midnight too; whoever is let go then is outside of them."""
    start, end = start.replace(tzinfo=None), end.replace(tzinfo=None)
    profile = Profile("anna", preferences=Preferences(quiet_from=start, quiet_to=end))
    now = NOW + timedelta(minutes=minutes)
    until = profile.quiet_until(now, SHANGHAI)
    if until is not None:
        assert now < until <= now + timedelta(days=1)
        assert profile.quiet_until(until, SHANGHAI) is None


@pytest.mark.parametrize(
    ("channel", "address", "well"),
    [
        ("wecom", "ZhangSan", True),
        ("dingtalk", "13812345678", True),
        ("feishu", 'x"></at><at user_id="all', False),
        ("email", "anna@example.com", True),
        ("email", "anna@example.com\r\nBcc: all@example.com", False),
        ("email", "anna", False),
        ("fax", "1", False),
    ],
)
def test_an_address_is_what_its_channel_takes(channel, address, well):
    """Nothing that could say more than whom it is for."""
    assert (fault_of(channel, address) == "") is well


@given(seconds=st.integers(0, 7200), rush_s=st.integers(0, 900))
def test_who_waits_for_calm_waits_no_longer_than_the_rush_and_leaves_outside_of_it(seconds, rush_s):
    """After each full and each half hour, and at no other time."""
    rush, now = timedelta(seconds=rush_s), NOW.replace(minute=0, second=0, microsecond=0) + timedelta(seconds=seconds)
    calm = calm_at(now, rush)
    assert calm == now if seconds % 1800 >= rush_s else calm == now + timedelta(seconds=rush_s - seconds % 1800)
