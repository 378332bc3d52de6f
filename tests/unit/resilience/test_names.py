"""What other projects import: a dozen names for most, and each further module for one purpose."""

import importlib
import pkgutil

import breakwater.resilience


def test_most_need_a_dozen_names():
    """Those of the package itself; all of them are there."""
    assert len(breakwater.resilience.__all__) == 12
    assert all(hasattr(breakwater.resilience, name) for name in breakwater.resilience.__all__)


def test_what_is_not_private_has_a_purpose():
    """Modules that others may import, each told of in the README."""
    found = {each.name for each in pkgutil.iter_modules(breakwater.resilience.__path__) if each.name[0] != "_"}
    assert found == {"errors", "faults", "shedding", "snapshots", "testing"}
    for name in found:
        assert importlib.import_module(f"breakwater.resilience.{name}").__doc__
