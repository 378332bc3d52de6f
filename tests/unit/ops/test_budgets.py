"""How fast edges spend the error budgets of their dependencies, as ops itself has counted it."""

import re
from pathlib import Path

import pytest

from breakwater.slo import objectives
from services.gateway.ops.budgets.domain import BAD, COUNTED, Budgets, BurnRate, Promise, Promises
from tests.unit.ops.test_history import T0, told

SLO = Path(__file__).parents[3] / "deploy" / "slo.yaml"
FAST = BurnRate(3_600, 300, 14.4, "critical")
SLOW = BurnRate(86_400, 7_200, 3.0, "warning")

pytestmark = pytest.mark.capability(38)


def budgets(pairs_max=10, requests_min=20):
    """Of files, 99.5 % of whose attempts are promised."""
    return Budgets(Promises({"files": Promise(0.995, requests_min)}, 30 * 86_400, (FAST, SLOW)), pairs_max)


def heard(found, *reports):
    """Each `(second, calls so far, failed so far)` is reported at its second."""
    for at_s, calls, failed in reports:
        found.take(told(at_s, calls=calls, failed=failed), T0 + at_s)
    return found


def spending(found, at_s, caller="gateway"):
    """Of the edge to files, so many seconds later."""
    return found.spending(caller, "files", T0 + at_s)


def test_what_counts_as_bad_is_what_the_file_says():
    """The outcomes here are those of the PromQL that Prometheus is given."""
    [promised, *_] = objectives.load(SLO).of_kind("dependency")
    [bad], [total] = (re.findall(r'outcome=~"([^"]+)"', query) for query in (promised.bad, promised.total))
    assert (set(bad.split("|")), set(total.split("|"))) == (set(BAD), set(COUNTED))


def test_a_burn_rate_is_the_share_of_bad_attempts_by_the_budget():
    """1 % failed of a budget of 0.5 %: twice too fast, in every window that holds it."""
    found = heard(budgets(), (0, 100, 0), (30, 1_100, 10))
    assert spending(found, 40).burn_rates == pytest.approx({300: 2.0, 3_600: 2.0, 7_200: 2.0, 86_400: 2.0})


def test_a_window_forgets_what_is_older():
    """After ten minutes the short window has only what came since; the hour still has both."""
    found = heard(budgets(), (0, 0, 0), (30, 1_000, 10), (600, 2_000, 10))
    assert spending(found, 610).burn_rates == pytest.approx({300: 0.0, 3_600: 1.0, 7_200: 1.0, 86_400: 1.0})


def test_few_requests_say_nothing():
    """Below the minimum there is no rate, which is neither good nor bad."""
    found = heard(budgets(), (0, 0, 0), (30, 19, 19))
    assert set(spending(found, 40).burn_rates.values()) == {None}
    assert spending(found, 40).severity == ""


def test_somebody_is_told_only_when_both_windows_burn():
    """What is over does not alarm any more, though the long window still has it."""
    found = heard(budgets(), (0, 0, 0), (4_000, 1_000, 500))
    assert spending(found, 4_010).severity == "critical"
    heard(found, (4_900, 2_000, 500), (12_000, 3_000, 500))
    assert spending(found, 12_010).severity == ""


def test_a_few_minutes_of_data_alarm_nobody_and_say_how_few_they_are():
    """After a start every window holds the same bad minutes; the hour alarms once it is remembered, the day later."""
    found = heard(budgets(), (0, 0, 0), (400, 1_000, 500))
    young = spending(found, 430)
    assert (young.severity, young.young_minutes, young.burn_rates[3_600] > 14.4) == ("", 7, True)
    heard(found, (3_599, 2_000, 1_000))
    grown = spending(found, 3_600)
    assert (grown.severity, grown.young_minutes) == ("critical", None)
    heard(found, (7_300, 9_000, 1_100))
    assert spending(found, 7_300).severity == ""


def test_spent_is_of_the_whole_period():
    """Burnt twice too fast for six hours of thirty days: a sixtieth of it all."""
    found = heard(budgets(), (0, 0, 0), (21_600, 10_000, 100))
    assert spending(found, 21_600).spent == pytest.approx(2 * 0.25 / 30)


def test_reports_that_come_twice_and_restarts_count_once():
    """The same report again adds nothing; a process that begins anew at zero takes nothing away."""
    found = heard(budgets(), (0, 0, 0), (10, 1_000, 10))
    found.take(told(10, calls=1_000, failed=10), T0 + 11)
    heard(found, (20, 5, 0), (30, 1_005, 10))
    assert spending(found, 40).burn_rates[300] == pytest.approx(2.0)


def test_what_is_not_promised_or_not_heard_has_no_budget():
    """No figure is better than an invented one; nor is there room without bound."""
    found = budgets(pairs_max=1)
    found.take(told(0, calls=1, dependency="wecom"), T0)
    heard(found, (0, 1, 0))
    found.take(told(0, calls=1, caller="leads"), T0)
    assert (found.spending("gateway", "wecom", T0), spending(found, 1, caller="leads")) == (None, None)
    assert spending(found, 1) is not None
