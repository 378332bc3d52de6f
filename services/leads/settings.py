"""What leads is told beside what every process is told."""

from datetime import time
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

    import_file_bytes_max: int = Field(default=64 * 1024 * 1024, ge=1)
    """Of a file to import."""
    import_unpacked_bytes_max: int = Field(default=512 * 1024 * 1024, ge=1)
    """Of an XLSX file unpacked; more is taken for a zip bomb."""
    import_rows_max: int = Field(default=1_000_000, ge=1)
    """Of a file to import."""
    import_chunk_rows: int = Field(default=500, ge=1, le=2_000)
    """Rows imported in one transaction."""
    import_files_received_max: int = Field(default=4, ge=1)
    """Files received at once; each is in memory. One more is answered 429."""
    import_lease_s: float = Field(default=3.0, gt=0)
    """How long a process that went silent keeps the import it works on."""
    import_poll_s: float = Field(default=1.0, gt=0)
    """How often imports are looked for whose process died."""

    duplicates_same_score: int = Field(default=85, ge=1)
    """Points from which on two customers are one."""
    duplicates_suspected_score: int = Field(default=55, ge=1)
    """Points from which on a person is asked."""
    duplicates_poll_s: float = Field(default=1.0, gt=0)
    """How often new and changed customers are looked for, to be compared."""
    duplicates_batch_size_max: int = Field(default=20, ge=1, le=500)
    """Customers compared in one transaction."""
    duplicates_work_share: float = Field(default=0.2, gt=0, le=1)
    """Share of the time in which customers are compared while some wait; the rest is left to those who wait for an answer."""

    timer_poll_s: float = Field(default=0.25, gt=0)
    """How often due timers and silent leads are looked for: on average half of it late."""
    timer_batch_size_max: int = Field(default=200, ge=1, le=1_000)
    """Timers fired in one transaction."""
    silence_after_s: int = Field(default=24 * 3_600, ge=1, le=7 * 24 * 3_600)
    """How long after its assignment a lead that nobody followed up alarms, in wall time. It cannot be switched off."""
    silence_daily_max: int = Field(default=7, ge=1, le=365)
    """Alarms of one silent lead that come daily; then they come weekly."""

    assigned_within_s: int = Field(default=15 * 60, ge=1)
    """How soon a lead is to be with a person (43), in wall time: on boards and in the check of the report."""
    assigned_share_min: float = Field(default=0.9, ge=0, le=1)
    """What share of leads is wanted so."""
    contact_within_s: int = Field(default=48 * 3_600, ge=1)
    """How soon a lead is to be followed up (63), in wall time: on boards and in the check of the report."""
    contact_share_min: float = Field(default=0.95, ge=0, le=1)
    """What share of leads is wanted so."""

    reroute_poll_s: float = Field(default=5.0, gt=0)
    """How often waiting leads are looked for, beside at once when organisation or rules change."""
    reroute_batch_size_max: int = Field(default=200, ge=1, le=1_000)
    """Waiting leads routed anew in one transaction."""

    board_mornings: bool = True
    """Whether boards are told each morning."""
    board_morning_at: time = time(8, 30)
    """When, on working days, in the time zone of each team."""
    board_morning_poll_s: float = Field(default=20.0, gt=0)
    """How often teams are looked for whose boards are due."""
    board_leads_max: int = Field(default=200_000, ge=1)
    """Leads one board adds up; more are refused."""
    board_time_zone: str = "Asia/Shanghai"
    """Whose days a board of several teams means."""
    board_unassigned_after_s: int = Field(default=48 * 3_600, ge=1)
    """An open lead that has nobody for longer is counted (1)."""
    board_late_people: int = Field(default=3, ge=1, le=20)
    """The most often late people shown first (6)."""

    availability_poll_s: float = Field(default=5.0, gt=0)
    """How often somebody is looked for whom the clock, or room, has made able to take leads."""
    recent_deals_days: int = Field(default=90, ge=1, le=3_650)
    """How far back a deal counts for the nearest and the most successful (4, 55)."""
    recent_deals_refresh_s: float = Field(default=600.0, gt=0)
    """How often recent deals are counted anew."""
