"""What health is told beside what every process is told."""

from datetime import time
from pathlib import Path

from pydantic import Field

from breakwater.chassis.settings import ServiceSettings


class HealthSettings(ServiceSettings):
    """Variables of the health process."""

    scoring_model: Path = Path(__file__).with_name("scoring") / "model.yaml"
    """The file of weights, targets and thresholds (17)."""
    nightly_at: time = time(2, 0)
    """When all customers are scored anew (18), in `zone`."""
    zone: str = "Asia/Shanghai"
    """The time zone of the nightly run."""
    score_batch_customers_max: int = Field(default=200, ge=1, le=2_000)
    """Customers scored in one transaction."""
    signals_gather_s: float = Field(default=0.25, ge=0, le=5)
    """How long events may wait for others, to be taken in together."""
