"""From what was observed of a customer to a score with its reasons (17). Pure: the model and the time are passed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Measure(StrEnum):
    """What is made of the signals of a metric's kinds within its window."""

    COUNT = "count"
    SUM = "sum"
    LATEST = "latest"
    SHARE = "share"


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that earns points. `window_days` None: all time."""

    name: str
    title: str
    kinds: tuple[str, ...]
    measure: Measure
    window_days: int | None
    target: float
    points: float


@dataclass(frozen=True, slots=True)
class LayerModel:
    """A weighted group of metrics."""

    name: str
    title: str
    weight: float
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A whole configuration. `grades` is from best to worst, each with its lowest score."""

    version: str
    unknown_share: float
    care_threshold: float
    grades: tuple[tuple[str, float], ...]
    layers: tuple[LayerModel, ...]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(metric for layer in self.layers for metric in layer.metrics)


@dataclass(frozen=True, slots=True)
class Observation:
    """What the store knows for one metric of one customer: `value` is None when its kinds were never seen."""

    value: float | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a metric earned what it earned, in one sentence for people."""

    metric: str
    actual: str
    target: str
    points: float
    points_max: float
    text: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's score from 0 to 100."""

    name: str
    weight: float
    score: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """A customer's score from 0 to 100, its grade, and why."""

    customer_id: str
    score: float
    grade: str
    needs_care: bool
    layers: tuple[Layer, ...]
    scored_at: datetime
    signals: int
    model_version: str

    def costliest_reason(self) -> str:
        """The sentence of the metric that lost most, weighted by its layer."""

        def loss(layer: Layer, reason: Reason) -> float:
            points = sum(other.points_max for other in layer.reasons) or 1.0
            return layer.weight * (reason.points_max - reason.points) / points

        pairs = [(loss(layer, reason), reason.text) for layer in self.layers for reason in layer.reasons]
        return max(pairs, default=(0.0, ""))[1]


def score(
    model: Model, customer_id: str, observed: Mapping[str, Observation], signals: int, scored_at: datetime
) -> Health:
    """Scores one customer. `observed` is keyed by metric name; an absent one counts as never seen."""
    layers = tuple(_layer(layer, observed, model.unknown_share) for layer in model.layers)
    weight = sum(layer.weight for layer in layers)
    total = round(sum(layer.score * layer.weight for layer in layers) / weight, 2) if weight else 0.0
    return Health(
        customer_id=customer_id,
        score=total,
        grade=grade(model, total),
        needs_care=total < model.care_threshold,
        layers=layers,
        scored_at=scored_at,
        signals=signals,
        model_version=model.version,
    )


def grade(model: Model, total: float) -> str:
    """The best grade whose lowest score is reached."""
    return next((name for name, lowest in model.grades if total >= lowest), model.grades[-1][0])


def _layer(layer: LayerModel, observed: Mapping[str, Observation], unknown_share: float) -> Layer:
    reasons = tuple(_reason(metric, observed.get(metric.name), unknown_share) for metric in layer.metrics)
    points_max = sum(reason.points_max for reason in reasons)
    earned = sum(reason.points for reason in reasons)
    return Layer(layer.name, layer.weight, round(100 * earned / points_max, 2) if points_max else 0.0, reasons)


def _reason(metric: Metric, observation: Observation | None, unknown_share: float) -> Reason:
    window = f"近{metric.window_days}天" if metric.window_days else ""
    target = _plain(metric.target)
    if observation is None or observation.value is None:
        points = metric.points * unknown_share
        text = f"{metric.title}尚无数据，按中性计分"
        return Reason(metric.name, "", target, round(points, 2), metric.points, text)
    share = min(1.0, max(0.0, observation.value / metric.target)) if metric.target > 0 else 1.0
    reached = "达标" if share >= 1 else "未达标"
    text = f"{window}{metric.title} {_plain(observation.value)}，目标 {target}，{reached}"
    return Reason(metric.name, _plain(observation.value), target, round(metric.points * share, 2), metric.points, text)


def _plain(value: float) -> str:
    text = f"{Decimal(str(round(value, 4))):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
