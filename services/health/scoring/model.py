"""Reads the scoring model from its YAML file and refuses one that cannot be right, naming every place."""

from pathlib import Path
from typing import Any

import yaml

from services.health.scoring.domain import LayerModel, Measure, Metric, Model


class ModelError(Exception):
    """The scoring model is wrong; the message lists every place."""


def load(path: Path) -> Model:
    """The model in `path`. Raises `ModelError` with every error at once."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ModelError(f"{path.name} is not YAML: {error}") from error
    errors: list[str] = []
    layers = tuple(_layer(name, body, errors) for name, body in (document.get("layers") or {}).items())
    grades = tuple(sorted(((str(k), float(v)) for k, v in document["grades"].items()), key=lambda g: -g[1]))
    if not layers or sum(layer.weight for layer in layers) <= 0:
        errors.append("layers: at least one with a positive weight")
    if not grades or grades[-1][1] > 0:
        errors.append("grades: the lowest one starts at 0")
    if not 0 <= float(document.get("unknown_share", -1)) <= 1:
        errors.append("unknown_share: from 0 to 1")
    if not 0 <= float(document.get("care_threshold", -1)) <= 100:  # noqa: PLR2004
        errors.append("care_threshold: from 0 to 100")
    if errors:
        raise ModelError(f"{path.name}: " + "; ".join(errors))
    return Model(
        version=str(document["version"]),
        unknown_share=float(document["unknown_share"]),
        care_threshold=float(document["care_threshold"]),
        grades=grades,
        layers=layers,
    )


def _layer(name: str, body: dict[str, Any], errors: list[str]) -> LayerModel:
    metrics = tuple(
        metric
        for metric_name, entry in (body.get("metrics") or {}).items()
        if (metric := _metric(f"layers.{name}.metrics.{metric_name}", metric_name, entry, errors))
    )
    if not metrics:
        errors.append(f"layers.{name}.metrics: at least one")
    return LayerModel(name, str(body.get("title", name)), float(body.get("weight", 0)), metrics)


def _metric(place: str, name: str, entry: dict[str, Any], errors: list[str]) -> Metric | None:
    try:
        metric = Metric(
            name=name,
            title=str(entry["title"]),
            kinds=tuple(entry["kinds"]),
            measure=Measure(entry["measure"]),
            window_days=None if entry["window_days"] is None else int(entry["window_days"]),
            target=float(entry["target"]),
            points=float(entry["points"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        errors.append(f"{place}: {type(error).__name__} {error}")
        return None
    window_wrong = metric.window_days is not None and metric.window_days <= 0
    if not metric.kinds or metric.target <= 0 or metric.points <= 0 or window_wrong:
        errors.append(f"{place}: kinds, target, points and window_days must be positive")
    return metric
