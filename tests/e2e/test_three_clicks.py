"""From a fault to what helps, by nothing but what the page offers first; `make proof-threeclicks` does every class of fault."""

import pytest

from tests.threeclicks.drills import drill_of, run_alone

pytestmark = [pytest.mark.capability(37, 38), pytest.mark.timeout(480)]


@pytest.mark.parametrize("fault", ["down", "gray"])
def test_what_the_page_offers_first_mitigates_a_fault_in_three_clicks(tmp_path, fault):
    """By the playbook that stands first beside the incident."""
    run_alone(drill_of(fault), tmp_path)
