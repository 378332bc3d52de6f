"""What leads is told beside what every process is told."""

from pathlib import Path

from pydantic import Field

from breakwater.chassis.settings import ServiceSettings


class LeadsSettings(ServiceSettings):
    """Variables of the leads process."""

    holidays_file: Path = Path(__file__).with_name("sla") / "holidays.yaml"
    """Public holidays and make-up working days; the format is that of the shipped file."""

    create_batch_size_max: int = Field(default=64, ge=1, le=500)
    """Leads created together in one transaction."""
    create_waiting_max: int = Field(default=1_000, ge=1)
    """Creations that may wait for a transaction; one more is answered 429."""

    timer_poll_s: float = Field(default=1.0, gt=0)
    """How often due first-touch timers are looked for."""
    timer_batch_size_max: int = Field(default=200, ge=1, le=1_000)
    """Timers fired in one transaction."""

    reroute_poll_s: float = Field(default=5.0, gt=0)
    """How often waiting leads are looked for, beside at once when organisation or rules change."""
    reroute_batch_size_max: int = Field(default=200, ge=1, le=1_000)
    """Waiting leads routed anew in one transaction."""
