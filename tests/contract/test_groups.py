"""An image carries one service: the lock of its group has everything its code imports."""

import re
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("leads", "notify", "files", "health", "gateway")

# Imported by a package of ours only where another program is there anyway.
OPTIONAL = {"isal", "polars"}


@pytest.fixture(scope="module")
def graph():
    """Every import of libs and services, also those from outside."""
    return grimp.build_graph("breakwater", "services", include_external_packages=True)


def locked(group):
    """Names of the distributions of a lock."""
    text = (ROOT / "locks" / f"{group}.txt").read_text()
    return {
        name.lower().replace("_", "-")
        for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", text, re.MULTILINE)
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_only_what_its_lock_has(graph, service):
    """What the code of a service reaches, through our libraries too, is in the service's own lock."""
    inside = {f"services.{service}", *graph.find_descendants(f"services.{service}")}
    reached = set().union(*(graph.find_upstream_modules(module) for module in inside)) | inside
    outside = {module for module in reached if module.split(".")[0] not in {"breakwater", "services"}}
    distributions = packages_distributions()
    pins = locked(service)
    missing = {
        module
        for module in outside
        if (names := distributions.get(module.split(".")[0]))
        and not {name.lower().replace("_", "-") for name in names} & pins
        and module not in OPTIONAL
    }
    assert len(outside) > 10
    assert missing == set()
