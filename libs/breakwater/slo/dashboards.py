"""Grafana's dashboards of the objectives. No template variables: each query runs as it stands, also in the tests."""

from typing import Any

from breakwater.slo.objectives import Objectives
from breakwater.slo.rules import ratio

_SCHEMA = 39
"""Of Grafana 11's dashboard JSON."""
_WIDTH, _HEIGHT = 12, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboards(objectives: Objectives) -> dict[str, dict[str, Any]]:
    """By file name without suffix."""
    return {
        "journeys": _dashboard("journeys", "Breakwater: journeys", _journeys(objectives)),
        "dependencies": _dashboard("dependencies", "Breakwater: dependencies", _dependencies(objectives)),
        "platform": _dashboard("platform", "Breakwater: platform", _platform()),
    }


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Every query of a dashboard."""
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def _journeys(objectives: Objectives) -> list[dict[str, Any]]:
    panels = [
        _stat("Error budget left", "breakwater:journey_budget_remaining:ratio", "{{journey}}"),
        _burn_rate("journey", objectives),
    ]
    for each in objectives.of_kind("journey"):
        total = each.total.replace("$window", "5m")
        bad = f"({each.bad}) / (({each.total}) > 0)".replace("$window", "5m")
        panels.append(
            _graph(
                f"{each.title}: {each.promise} ({each.objective:.2%})",
                [(f"{total} / 300", "a second"), (bad, "share that is not")],
                unit="short",
            )
        )
    return panels


def _dependencies(objectives: Objectives) -> list[dict[str, Any]]:
    edge = "{{caller}} → {{dependency}}"
    requests = "sum by (caller, dependency) (rate(breakwater_edge_requests_total[5m]))"
    failed = 'sum by (caller, dependency, outcome) (rate(breakwater_edge_requests_total{outcome!~"success|caller_fault"}[5m]))'
    p99 = "histogram_quantile(0.99, sum by (caller, dependency, le) (rate(breakwater_edge_latency_seconds_bucket[5m])))"
    return [
        _stat("Error budget left", "breakwater:dependency_budget_remaining:ratio", "{{dependency}}"),
        _burn_rate("dependency", objectives),
        _graph(
            "Circuits: 0 closed, 1 half-open, 2 open",
            [("max by (caller, dependency, instance) (breakwater_breaker_state)", f"{edge} {{{{instance}}}}")],
        ),
        _graph("Overrides in force", [("max by (caller, dependency) (breakwater_override)", edge)]),
        _graph("Attempts a second", [(requests, edge)], unit="reqps"),
        _graph("Not answered, by outcome", [(failed, f"{edge} {{{{outcome}}}}")], unit="reqps"),
        _graph("p99 of answered attempts", [(p99, edge)], unit="s"),
        _graph(
            "Retries that may still be made", [("min by (caller, dependency) (breakwater_retry_budget_tokens)", edge)]
        ),
        _graph("Attempts in flight", [("sum by (caller, dependency) (breakwater_bulkhead_in_use)", edge)]),
        _graph(
            "Answers by a fallback",
            [("sum by (caller, dependency) (rate(breakwater_fallback_total[5m]))", edge)],
            unit="reqps",
        ),
    ]


def _platform() -> list[dict[str, Any]]:
    quantile = "histogram_quantile(0.99, sum by ({by}, le) (rate({metric}_bucket[5m])))"
    http = "sum by (http_route, http_response_status_code) (rate(http_server_request_duration_seconds_count[5m]))"
    return [
        _graph("Processes scraped", [("sum by (service) (up)", "{{service}}")]),
        _graph("Requests a second", [(http, "{{http_route}} {{http_response_status_code}}")], unit="reqps"),
        _graph(
            "p99 of requests",
            [(quantile.format(by="http_route", metric="http_server_request_duration_seconds"), "{{http_route}}")],
            unit="s",
        ),
        _graph(
            "p99 of RPCs",
            [(quantile.format(by="rpc_method", metric="rpc_server_call_duration_seconds"), "{{rpc_method}}")],
            unit="s",
        ),
        _graph("Events that wait in an outbox", [("sum by (service) (breakwater_outbox_pending)", "{{service}}")]),
        _graph(
            "Age of the oldest of them",
            [("max by (service) (breakwater_outbox_oldest_age_seconds)", "{{service}}")],
            unit="s",
        ),
        _graph("Dead letters", [("max by (service) (breakwater_dead_letters)", "{{service}}")]),
        _graph(
            "Events that wait for a consumer",
            [("max by (service, stream) (breakwater_consumer_lag)", "{{service}} {{stream}}")],
        ),
        _graph(
            "p99 from an event to its effect",
            [
                (
                    quantile.format(by="service, stream", metric="breakwater_event_delay_seconds"),
                    "{{service}} {{stream}}",
                )
            ],
            unit="s",
        ),
        _graph(
            "Timers late",
            [("max by (service, timer) (breakwater_timer_lag_seconds)", "{{service}} {{timer}}")],
            unit="s",
        ),
        _graph(
            "Refused for load",
            [
                (
                    "sum by (service, server, priority) (rate(breakwater_requests_shed_total[5m]))",
                    "{{service}} {{server}} {{priority}}",
                )
            ],
            unit="reqps",
        ),
        _graph(
            "Requests taken at a time",
            [("min by (service, server) (breakwater_concurrency_limit)", "{{service}} {{server}}")],
        ),
        _graph(
            "Keys that cannot be read anew",
            [("max by (service, source) (breakwater_jwks_stale)", "{{service}} {{source}}")],
        ),
        _graph("Memory", [("sum by (service) (process_resident_memory_bytes)", "{{service}}")], unit="bytes"),
    ]


def _burn_rate(kind: str, objectives: Objectives) -> dict[str, Any]:
    budget = f"on ({kind}) breakwater:{kind}_budget:ratio"
    shown = objectives.burn_rates[0]
    targets = [(f"{ratio(kind, each)} / {budget}", f"{{{{{kind}}}}} {each}") for each in (shown.long, shown.short)]
    return _graph(f"Burn rate (1: just what the objective allows; page at {shown.factor:g})", targets)


def _stat(title: str, expr: str, legend: str) -> dict[str, Any]:
    return _panel("stat", title, [(expr, legend)], unit="percentunit")


def _graph(title: str, targets: list[tuple[str, str]], unit: str = "short") -> dict[str, Any]:
    return _panel("timeseries", title, targets, unit=unit)


def _panel(kind: str, title: str, targets: list[tuple[str, str]], *, unit: str) -> dict[str, Any]:
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for index, (expr, legend) in enumerate(targets)
        ],
    }


def _dashboard(name: str, title: str, panels: list[dict[str, Any]]) -> dict[str, Any]:
    placed = [
        panel
        | {"id": index + 1, "gridPos": {"x": index % 2 * _WIDTH, "y": index // 2 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}}
        for index, panel in enumerate(panels)
    ]
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": f"breakwater-{name}",
        "title": title,
        "tags": ["breakwater"],
        "schemaVersion": _SCHEMA,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source]},
        "panels": placed,
    }
