"""What notify is told beside what every process is told."""

from pydantic import Field

from breakwater.chassis.settings import ServiceSettings


class NotifySettings(ServiceSettings):
    """Variables of the notify process."""

    zone: str = Field(default="Asia/Shanghai")
    """The time zone due times are written in."""
    robots_probe_interval_s: float | None = Field(default=None, ge=10)
    """Seconds between two synthetic probes of each robot that HTTP_BASES names (wecom, dingtalk, feishu); none without it."""
