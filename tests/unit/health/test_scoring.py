"""The health score: layers, windows, reasons, and what cannot be otherwise."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.health.scoring import domain, model

MODEL = model.load(Path(model.__file__).with_name("model.yaml"))
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
FULL = {metric.name: domain.Observation(metric.target) for metric in MODEL.metrics}

pytestmark = pytest.mark.capability(17)


def test_a_customer_that_reaches_every_target_scores_one_hundred():
    """Every target met gives 100 points and the best grade."""
    health = domain.score(MODEL, "c", FULL, 9, NOW)
    assert (health.score, health.grade, health.needs_care) == (100.0, "A", False)


def test_a_customer_nothing_is_known_of_is_neither_praised_nor_blamed():
    """Without signals every metric counts as neutral and says so."""
    health = domain.score(MODEL, "c", {}, 0, NOW)
    assert health.score == pytest.approx(100 * MODEL.unknown_share, abs=0.1)
    assert not health.needs_care
    assert all("尚无数据" in reason.text for layer in health.layers for reason in layer.reasons)


def test_a_silent_customer_needs_care_and_the_reason_that_cost_most_is_named():
    """Known kinds without anything in the window earn nothing (18)."""
    silent = FULL | {
        name: domain.Observation(0.0) for name in ("logins", "downloads", "conversations", "contract_amount")
    }
    health = domain.score(MODEL, "c", silent, 9, NOW)
    assert health.needs_care
    assert health.costliest_reason().startswith(("合同金额", "近90天沟通次数"))


def test_the_layers_weigh_as_configured():
    """Losing a whole layer costs its weight: 40, 35 or 25."""
    for layer in MODEL.layers:
        lost = FULL | {metric.name: domain.Observation(0.0) for metric in layer.metrics}
        assert domain.score(MODEL, "c", lost, 9, NOW).score == pytest.approx(100 - layer.weight)


@given(st.dictionaries(st.sampled_from([m.name for m in MODEL.metrics]), st.floats(-1e9, 1e9) | st.none()))
def test_a_score_stays_between_zero_and_one_hundred(values):
    """Whatever is observed, the score has its bounds and each metric explains itself."""
    observed = {name: domain.Observation(value) for name, value in values.items()}
    health = domain.score(MODEL, "c", observed, 1, NOW)
    assert 0 <= health.score <= 100
    assert sum(len(layer.reasons) for layer in health.layers) == len(MODEL.metrics)


@given(st.sampled_from([m.name for m in MODEL.metrics]), st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_of_a_good_thing_never_lowers_the_score(name, one, other):
    """The score is monotonic in every metric."""
    low, high = sorted((one, other))
    at = lambda value: domain.score(MODEL, "c", FULL | {name: domain.Observation(value)}, 1, NOW).score  # noqa: E731
    assert at(low) <= at(high)


def test_a_wrong_model_is_refused_with_every_place(tmp_path):
    """A metric without a target and weights that cannot be are named together."""
    path = tmp_path / "model.yaml"
    path.write_text(
        "version: x\nunknown_share: 2\ncare_threshold: 60\ngrades: {A: 50}\n"
        "layers: {base: {weight: 1, metrics: {m: "
        "{title: t, kinds: [k], measure: sum, window_days: 0, target: 1, points: 1}}}}"
    )
    with pytest.raises(model.ModelError) as refused:
        model.load(path)
    assert all(place in str(refused.value) for place in ("unknown_share", "grades", "layers.base.metrics.m"))


def test_the_grade_is_the_best_whose_lowest_score_is_reached():
    """Grades change exactly at their limits."""
    assert [domain.grade(MODEL, value) for value in (85, 84.99, 70, 60, 59.99, 0)] == ["A", "B", "B", "C", "D", "D"]
    assert domain.grade(replace(MODEL, grades=(("S", 99.0), ("N", 0.0))), 50) == "N"
