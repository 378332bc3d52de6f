"""Objectives of journeys and dependencies, and what Prometheus and Grafana make of them: from `deploy/slo.yaml` alone."""
