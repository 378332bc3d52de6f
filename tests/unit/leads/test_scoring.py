"""A lead's score by a director's formula: arithmetic, and nothing else (40, 57)."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.leads.routing.scoring import SCORE_MAX, FormulaError, read_scoring

pytestmark = pytest.mark.capability(40, 57)

WEIGHTS = {"budget": Decimal(40), "hot": Decimal(20)}
FACTS: dict[str, Any] = {
    "budget": Decimal(500_000),
    "urgency": "高",
    "industry": "制造业",
    "need": "注塑机报价",
    "utm.revenue": "60000000",
    "customer.activities_90d": Decimal(4),
}


@pytest.mark.parametrize(
    ("formula", "score"),
    [
        ("1 + 2 * 3", "7.00"),
        ("weights.budget * min(budget / 1000000, 1)", "20.00"),
        ('weights.hot * (urgency == "高" or customer.activities_90d >= 5)', "20.00"),
        ('10 if industry in ("制造业", "机械") else -10', "10.00"),
        ('"报价" in need', "1.00"),
        ('"报价" not in need', "0.00"),
        ("number(utm.revenue) / 50000000", "1.20"),
        ("number(need) + number(company)", "0.00"),
        ("customer.won_deals", "0.00"),
        ("budget / customer.won_deals", "0.00"),
        ("abs(-3) + max(1, 2, 3) - -1", "7.00"),
        ("not budget", "0.00"),
        ('(region == "华东") * 5 + (urgency != "低") * 2', "2.00"),
        ("0.1 + 0.2", "0.30"),
        ("budget * budget * budget", "1000000.00"),
    ],
)
def test_a_formula_is_worked_out_exactly(formula: str, score: str) -> None:
    """Decimal arithmetic over facts and weights; what is unknown counts as 0, and a score has its bounds."""
    assert str(read_scoring(formula, WEIGHTS).score(FACTS)) == score


@pytest.mark.parametrize(
    ("formula", "told"),
    [
        ("__import__('os').system('true')", "column 1"),
        ("budget.__class__", "column 1: budget.__class__ is not known"),
        ("().__class__", "column 1"),
        ("[x for x in (1,)]", "column 1"),
        ("lambda: 1", "column 1"),
        ("2 ** 999999999", "column 1"),
        ("'x' * 99999999", "column 1"),
        ("budget[0]", "column 1"),
        ("min(*budget)", "column 5"),
        ("max(budget, key=abs)", "column 1"),
        ("exec(1)", "column 1: exec is not known here"),
        ("weights.nothing", "column 1: weights.nothing is not among the weights"),
        ("1 + shoe_size", "column 5: shoe_size is not known"),
        ("1 + lead_score", "column 5: lead_score is not known"),
        ("1 + region", "column 5: region is a text"),
        ("region < 'b'", "column 1: compares texts"),
        ("1 < 2 < 3", "column 1: compares more than two"),
        ("region == 5", "column 11: is not a text"),
        ("1 +", "is not a formula"),
        ("", "is not a formula"),
        ("a" * 2_001, "is longer than 2000 characters"),
        ("(" * 300 + "1" + ")" * 300, "is not a formula"),
        ("+".join(["1"] * 900), "is more than 100 levels deep"),
        ("1e999999", "column 1"),
    ],
)
def test_what_is_no_arithmetic_is_refused_with_its_place(formula: str, told: str) -> None:
    """No name, call or construct of Python gets through, however it is dressed."""
    with pytest.raises(FormulaError) as caught:
        read_scoring(formula, WEIGHTS)
    assert told in str(caught.value)


@given(st.text(alphabet="0123456789+-*/()., budgetminax<>=!ifels'\"", max_size=60))
@settings(deadline=None)
def test_any_text_is_a_formula_with_a_bounded_score_or_refused(formula: str) -> None:
    """Nothing else happens, whatever somebody types."""
    try:
        scoring = read_scoring(formula, WEIGHTS)
    except FormulaError:
        return
    assert abs(scoring.score(FACTS)) <= SCORE_MAX


def test_a_formula_says_what_it_asks_for() -> None:
    """So that a decision keeps those facts, and no others."""
    asked = read_scoring("budget + (region == industry) + customer.won_deals + weights.hot", WEIGHTS).asks
    assert asked == {"budget", "region", "industry", "customer.won_deals"}
