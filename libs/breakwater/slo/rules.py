"""Prometheus' recording and alert rules of the objectives (the multi-window, multi-burn-rate form of the SRE Workbook, ch. 5)."""

from typing import Any

from breakwater.slo.objectives import BurnRate, Objective, Objectives

ALERTS = {
    ("journey", "critical"): "BreakwaterJourneyBudgetBurning",
    ("journey", "warning"): "BreakwaterJourneyBudgetLeaking",
    ("dependency", "critical"): "BreakwaterDependencyBudgetBurning",
    ("dependency", "warning"): "BreakwaterDependencyBudgetLeaking",
}
RUNBOOKS = "docs/runbooks"
SLOW_INTERVAL = "5m"
"""Days change slowly, and are dear to look at."""


def rules(objectives: Objectives) -> dict[str, Any]:
    """The whole content of a rule file."""
    quick = [window for window in objectives.windows if window[-1] != "d"]
    slow = [window for window in objectives.windows if window[-1] == "d"]
    groups: list[dict[str, Any]] = [{"name": "slo-objectives", "rules": _constants(objectives)}]
    for kind in ("journey", "dependency"):
        of_kind = objectives.of_kind(kind)
        groups.append({"name": f"slo-{kind}", "rules": _ratios(of_kind, quick)})
        days = [*_ratios(of_kind, slow), _remaining(kind, objectives.period)]
        groups.append({"name": f"slo-{kind}-days", "interval": SLOW_INTERVAL, "rules": days})
    alerts = [_alert(kind, severity, objectives) for kind, severity in ALERTS]
    return {"groups": [*groups, {"name": "slo-burn-rates", "rules": alerts}]}


def ratio(kind: str, window: str) -> str:
    """The name of the share of bad requests over a window."""
    return f"breakwater:{kind}_errors:ratio{window}"


def _constants(objectives: Objectives) -> list[dict[str, Any]]:
    made = []
    for each in objectives.all:
        name = f"breakwater:{each.kind}_budget:ratio"
        made.append({"record": name, "expr": f"vector({each.budget:g})", "labels": {each.kind: each.name}})
        if each.p99_s_max is not None:
            name = "breakwater:dependency_p99_limit:seconds"
            made.append({"record": name, "expr": f"vector({each.p99_s_max:g})", "labels": {each.kind: each.name}})
    return made


def _ratios(objectives: tuple[Objective, ...], windows: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "record": ratio(each.kind, window),
            "expr": f"({each.bad}) / (({each.total}) >= {each.requests_min})".replace("$window", window),
            "labels": {each.kind: each.name},
        }
        for each in objectives
        for window in windows
    ]


def _remaining(kind: str, period: str) -> dict[str, Any]:
    expr = f"1 - {ratio(kind, period)} / on ({kind}) breakwater:{kind}_budget:ratio"
    return {"record": f"breakwater:{kind}_budget_remaining:ratio", "expr": expr}


def _alert(kind: str, severity: str, objectives: Objectives) -> dict[str, Any]:
    name = ALERTS[kind, severity]
    rates = [rate for rate in objectives.burn_rates if rate.severity == severity]
    spends = "spends" if severity == "critical" else "slowly spends"
    limits = " or ".join(f"{rate.factor:g} times what the objective allows over {rate.long}" for rate in rates)
    return {
        "alert": name,
        "expr": " or ".join(_burns(kind, rate) for rate in rates),
        "labels": {"severity": severity},
        "annotations": {
            "summary": f"The {kind} {{{{ $labels.{kind} }}}} {spends} its error budget",
            "description": f"{{{{ $value | humanizePercentage }}}} go wrong: more than {limits}.",
            "runbook_url": f"{RUNBOOKS}/{name}.md",
            "dashboard_url": f"/d/breakwater-{'journeys' if kind == 'journey' else 'dependencies'}",
        },
    }


def _burns(kind: str, rate: BurnRate) -> str:
    limit = f"on ({kind}) ({rate.factor:g} * breakwater:{kind}_budget:ratio)"
    return f"(({ratio(kind, rate.long)} > {limit}) and on ({kind}) ({ratio(kind, rate.short)} > {limit}))"
