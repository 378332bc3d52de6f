"""Rotations of signing keys: the rule flags each that can hurt, and parties held to it never refuse a valid token."""

from dataclasses import replace

import pytest

from breakwater.chassis.auth import KeySource, OverlapRule, Rotation
from tests.simulation.rotation import RULE, START_S, at_the_limits, at_worst, by_chance, drawn, run

SEEDS = 30

pytestmark = pytest.mark.capability(36)


async def test_the_rule_flags_exactly_what_can_refuse_a_valid_token():
    """In the worst case: verifiers that looked just before, tokens used to their end, clocks apart."""
    for rotation in at_the_limits():
        outcome = await run(rotation, at_worst(rotation), guarded=False)
        assert bool(outcome.refused) == bool(outcome.problems), outcome


async def test_nothing_valid_is_refused_when_the_overlap_holds_and_the_rest_is_flagged():
    """Parties left to themselves: whatever hurts was flagged, and some of it does hurt."""
    outcomes = [await run(drawn(seed), by_chance(seed, drawn(seed)), guarded=False) for seed in range(SEEDS)]
    assert [outcome for outcome in outcomes if outcome.refused and not outcome.problems] == []
    assert any(outcome.refused for outcome in outcomes)
    assert any(not outcome.problems for outcome in outcomes)


async def refusals_of_guarded_parties() -> int:
    outcomes = [await run(rotation, at_worst(rotation), guarded=True) for rotation in at_the_limits()]
    outcomes += [await run(drawn(seed), by_chance(seed, drawn(seed)), guarded=True) for seed in range(SEEDS)]
    return sum(len(outcome.refused) for outcome in outcomes)


async def test_parties_held_to_the_rule_refuse_nothing_valid_whatever_is_published():
    """A rotation that breaks the rule is not carried out: keys sign later, and are forgotten later."""
    assert await refusals_of_guarded_parties() == 0


@pytest.mark.parametrize("bug", ["a new key signs at once", "a withdrawn key is forgotten at once"])
async def test_a_planted_bug_is_found(monkeypatch, bug):
    """The simulation can fail: without either half of the guard valid tokens are refused."""
    if bug == "a new key signs at once":
        monkeypatch.setattr(KeySource, "may_sign", lambda *_: True)
    else:
        monkeypatch.setattr(OverlapRule, "kept_s", 0.0)
    assert await refusals_of_guarded_parties() > 0


async def test_a_rule_that_forgets_the_skew_is_found(monkeypatch):
    """Exactly on its own limit it would let through what refuses a valid token."""
    blind = replace(RULE, skew_s=1.0)
    signs_s = START_S + RULE.cache_s
    rotation = Rotation(START_S, signs_s, signs_s + blind.token_s + blind.skew_s)
    outcome = await run(rotation, at_worst(rotation), guarded=False)
    assert blind.problems(rotation) == ()
    assert outcome.refused
