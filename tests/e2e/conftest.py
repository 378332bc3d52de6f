"""One platform for the end-to-end tests, with the real export imported once."""

import json

import pytest

from tests.support.platform import ZOHO, running


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """A running platform without data of ours."""
    with running(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture(scope="session")
def zoho(platform):
    """The platform with the real export in it; the answer of `breakwater import --json`, a report for each file."""
    assert ZOHO.is_dir(), "the real CRM export lies beside the project, in ../shared/data/zoho: see README, Tests"
    done = platform.cli("import", str(ZOHO / "Leads.csv"), "--mapping", "zoho", "--json")
    return json.loads(done.stdout)
