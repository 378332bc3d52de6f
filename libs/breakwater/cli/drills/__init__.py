"""Drills: a fault on a running local platform, and what callers saw of it beside a control group."""
