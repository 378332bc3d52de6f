"""The error matrix of all channels: nothing is called delivered that was not, and each failure is what it is."""

import asyncio
from dataclasses import replace

import pytest

from breakwater.chassis.http_client import Refusal
from breakwater.resilience import Outcome
from breakwater.robots import FORMS
from tests.channelmatrix.cases import OK, cases
from tests.channelmatrix.clients import MEANS, ours


@pytest.mark.capability(117)
async def test_no_channel_reports_success_where_there_is_none():
    """Every recorded answer, every broken transport, every reply of SMTP."""
    matrix = cases()
    found = [pair async for pair in _all(matrix)]
    assert len(found) > 150
    assert [case.name for case, outcome in found if outcome.value == "delivered" and case.means != OK] == []
    # A case has half a second; what a busy machine made too late for that is asked once more by itself.
    wrong = [case for case, outcome in found if outcome not in MEANS[case.means]]
    again = [(case, await ours(case)) for case in wrong]
    assert [
        (case.channel, case.name, outcome.value) for case, outcome in again if outcome not in MEANS[case.means]
    ] == []


@pytest.mark.parametrize(
    ("planted", "missed_min"),
    [
        (lambda answer: None, 60),
        (lambda answer: None if b": 0" in answer.content else Refusal(Outcome.FAILURE, "no zero"), 3),
    ],
    ids=["trusts HTTP 200", "looks for a zero anywhere"],
)
async def test_a_planted_judge_is_found(planted, missed_min):
    """What popular clients do would show in the matrix."""
    forms = {name: replace(form, judge=planted) for name, form in FORMS.items()}
    found = [pair async for pair in _all([case for case in cases() if case.says is not None], forms)]
    false = [case.name for case, outcome in found if outcome.value == "delivered" and case.means != OK]
    assert len(false) >= missed_min


async def _all(matrix, forms=FORMS):
    for start in range(0, len(matrix), 8):
        some = matrix[start : start + 8]
        for pair in zip(some, await asyncio.gather(*(ours(case, forms) for case in some)), strict=True):
            yield pair
