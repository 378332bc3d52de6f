"""A platform that tests may break; the other end-to-end tests have one of their own."""

import pytest

from tests.support.platform import running


@pytest.fixture(scope="session")
def breakable(tmp_path_factory):
    """A running platform below a directory closed to others, as a clone in somebody's home is."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    with running(closed / "state") as platform:
        yield platform
