"""What is promised: `deploy/slo.yaml`, read and checked."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_DURATION = re.compile(r"(\d{1,3})([mhd])")
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
_SEVERITIES = ("critical", "warning")


class WrongObjectivesError(ValueError):
    """The file cannot be what is meant; the message names the place."""


@dataclass(frozen=True, slots=True)
class BurnRate:
    """Somebody is told when so much of the period's budget went within `long`, and still goes within `short`."""

    long: str
    short: str
    factor: float
    """How many times as fast as the budget allows."""
    severity: str


@dataclass(frozen=True, slots=True)
class Objective:
    """One promise. `bad` and `total` are PromQL with `$window`; `labels` name it in every series made of it."""

    kind: str
    """journey or dependency."""
    name: str
    title: str
    objective: float
    requests_min: int
    bad: str
    total: str
    owner: str
    promise: str = ""
    p99_s_max: float | None = None

    @property
    def budget(self) -> float:
        """The share of requests that may be bad."""
        return round(1 - self.objective, 9)


@dataclass(frozen=True, slots=True)
class Objectives:
    """The whole file."""

    period: str
    burn_rates: tuple[BurnRate, ...]
    all: tuple[Objective, ...] = field(default=())

    @property
    def windows(self) -> tuple[str, ...]:
        """Every window a ratio is needed for, shortest first; the period is the last."""
        named = {each for rate in self.burn_rates for each in (rate.long, rate.short)}
        return (*sorted(named, key=seconds_of), self.period)

    def of_kind(self, kind: str) -> tuple[Objective, ...]:
        """Those of journeys, or of dependencies."""
        return tuple(each for each in self.all if each.kind == kind)


def seconds_of(duration: str) -> int:
    """`5m`, `6h`, `30d` in seconds. Raises `WrongObjectivesError`."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise WrongObjectivesError(f"{duration!r} is no duration such as 5m, 6h or 30d")
    return int(found[1]) * _SECONDS[found[2]]


def load(path: Path) -> Objectives:
    """The objectives of a file. Raises `WrongObjectivesError` naming the place, `OSError`."""
    try:
        content = yaml.safe_load(path.read_text())
        period = content["period"]
        rates = tuple(_burn_rate(each, period) for each in content["burn_rates"])
        journeys = [_journey(name, each) for name, each in content["journeys"].items()]
        dependencies = _dependencies(content["dependencies"])
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise WrongObjectivesError(f"{path.name} is not understood: {error}") from error
    objectives = Objectives(period, rates, (*journeys, *dependencies))
    _check(objectives)
    return objectives


def _burn_rate(given: dict[str, Any], period: str) -> BurnRate:
    factor = given["budget_share"] * seconds_of(period) / seconds_of(given["long"])
    if given["severity"] not in _SEVERITIES:
        raise WrongObjectivesError(f"burn_rates: a severity is {' or '.join(_SEVERITIES)}")
    return BurnRate(given["long"], given["short"], round(factor, 6), given["severity"])


def _journey(name: str, given: dict[str, Any]) -> Objective:
    return Objective(
        kind="journey",
        name=name,
        title=given["title"],
        promise=given["promise"],
        objective=given["objective"],
        requests_min=given["requests_min"],
        bad=given["bad"].strip(),
        total=given["total"].strip(),
        owner=given["owner"],
    )


def _dependencies(given: dict[str, Any]) -> list[Objective]:
    return [
        Objective(
            kind="dependency",
            name=name,
            title=name,
            objective=each["objective"],
            requests_min=given["requests_min"],
            bad=given["bad"].replace("$dependency", name),
            total=given["total"].replace("$dependency", name),
            owner=each["owner"],
            p99_s_max=each["p99_s_max"],
        )
        for name, each in given["objectives"].items()
    ]


def _check(objectives: Objectives) -> None:
    fastest = max(rate.factor for rate in objectives.burn_rates)
    for each in objectives.all:
        place = f"{each.kind} {each.name}"
        if not 0 < each.objective < 1:
            raise WrongObjectivesError(f"{place}: an objective lies between 0 and 1")
        if fastest * each.budget >= 1:
            # More than everything would have to fail: that alarm could never come.
            raise WrongObjectivesError(f"{place}: at {each.objective} a burn rate of {fastest:g} cannot be reached")
        if "$window" not in each.bad or "$window" not in each.total:
            raise WrongObjectivesError(f"{place}: bad and total are over $window")
        if each.requests_min < 1:
            raise WrongObjectivesError(f"{place}: requests_min is at least 1")
    for rate in objectives.burn_rates:
        if seconds_of(rate.short) >= seconds_of(rate.long):
            raise WrongObjectivesError(f"burn_rates: {rate.short} is not shorter than {rate.long}")
