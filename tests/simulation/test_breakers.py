"""Ours keeps the rules that the public breakers break, and the page that says so is what the suite finds."""

import pytest

from tests.proofs.breakers import PAGE, measure, page
from tests.simulation.breaker_rules import RULES, violations
from tests.simulation.peers import BREAKERS

SEEDS = range(10)
OURS, *OTHERS = BREAKERS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_our_breaker_keeps_the_rule(rule):
    """In no seeded situation does a call get through, or fail to, against the rule."""
    assert violations(OURS, rule, SEEDS) == (0, None)


@pytest.mark.parametrize("breaker", OTHERS, ids=lambda breaker: breaker.name)
def test_every_public_breaker_breaks_a_rule(breaker):
    """The rules can be broken: each of the libraries lets a crowd probe, and fails others."""
    broken = [rule.__name__ for rule in RULES if violations(breaker, rule, SEEDS)[0]]
    assert "exactly_n_callers_probe" in broken
    assert len(broken) > 1


def test_the_page_is_what_the_suite_finds():
    """docs/breakers.md is written by `make proof-breakers`; a new version of a library may change it."""
    assert PAGE.read_text(encoding="utf-8") == page(measure(SEEDS), len(SEEDS))
