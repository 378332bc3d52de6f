"""A platform to kill processes of."""

import pytest

from tests.support.platform import running


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    """A running platform with the default organisation."""
    with running(tmp_path_factory.mktemp("chaos")) as platform:
        yield platform
