"""The files made of `deploy/slo.yaml`, and whether they are what it says."""

import json
from pathlib import Path

import yaml

from breakwater.slo import dashboards, rules
from breakwater.slo.objectives import Objectives, load

SOURCE = "deploy/slo.yaml"
RULES = "deploy/prometheus/rules/slo.yaml"
DASHBOARDS = "deploy/grafana/dashboards"
_HEAD = f"# GENERATED from {SOURCE} by `make slo-rules`; do not edit.\n"


def objectives(root: Path) -> Objectives:
    """Those of the tree at `root`. Raises `WrongObjectivesError`, `OSError`."""
    return load(root / SOURCE)


def files(root: Path) -> dict[str, str]:
    """What each file has to hold, by its path in the tree. Raises `WrongObjectivesError`, `OSError`."""
    found = objectives(root)
    made = {RULES: _HEAD + yaml.safe_dump(rules.rules(found), sort_keys=False, allow_unicode=True, width=200)}
    for name, dashboard in dashboards.dashboards(found).items():
        made[f"{DASHBOARDS}/{name}.json"] = json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"
    return made


def stale(root: Path) -> list[str]:
    """The files that are not as `deploy/slo.yaml` has them: missing, different, or of no dashboard any more."""
    wanted = files(root)
    there = {str(path.relative_to(root)) for path in (root / DASHBOARDS).glob("*.json")}
    differing = [name for name, content in wanted.items() if not _holds(root / name, content)]
    return sorted({*differing, *(there - wanted.keys())})


def write(root: Path) -> list[str]:
    """Brings every file to what it has to hold; those that were changed."""
    changed = stale(root)
    wanted = files(root)
    for name in changed:
        if name in wanted:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(wanted[name])
        else:
            (root / name).unlink()
    return changed


def _holds(path: Path, content: str) -> bool:
    return path.is_file() and path.read_text() == content
