"""What notify is told beside what every process is told."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from breakwater.chassis.settings import ServiceSettings
from services.notify.digests.domain import Holding
from services.notify.escalation.domain import Rules, Window

_MINUTE, _SECOND = timedelta(minutes=1), timedelta(seconds=1)


class NotifySettings(ServiceSettings):
    """Variables of the notify process."""

    zone: str = Field(default="Asia/Shanghai")
    """The time zone due times are written in, and quiet hours are meant in."""
    robots_probe_interval_s: float | None = Field(default=None, ge=10)
    """Seconds between two synthetic probes of each robot that HTTP_BASES names (wecom, dingtalk, feishu); none without it."""

    robots_folder: Path | None = None
    """A folder of secrets, mode 0600 each: `wecom.default.key` holds the key in the address of the robot `default` of WeCom,
    `dingtalk.default.secret` what DingTalk's messages are signed with. A robot speaks where HTTP_BASES names its provider."""
    mail_from: str = Field(default="", pattern=r"^([!-?A-~]{1,64}@[!-?A-~]{1,180})?$")
    """The address mail is sent from; mail is a channel where this and SMTP_SERVER are set."""

    wecom_per_minute_max: int = Field(default=20, ge=2)
    """Messages of one robot over all replicas, as WeCom limits them."""
    dingtalk_per_minute_max: int = Field(default=20, ge=2)
    """Past it DingTalk throttles the robot for ten minutes."""
    feishu_per_minute_max: int = Field(default=100, ge=2)
    feishu_per_second_max: int = Field(default=5, ge=2)
    feishu_rush_s: float = Field(default=60.0, ge=0, le=900)
    """How long after each full and half hour boards, digests of imports and what quiet hours held stay away from Feishu, which
    asks for that: it pushes back when everybody's timetables send."""
    robot_guard_s: float = Field(default=1.0, ge=0)
    """Added to each of these windows: how far clocks may be apart."""
    send_rounds_max: int = Field(default=6, ge=1)
    """How often the whole chain of a person's channels is tried before a notification ends as a dead letter."""
    send_backoff_s: float = Field(default=2.0, gt=0)
    """After the first round; four times as long after each further one, ten minutes at most."""
    send_lease_s: float = Field(default=20.0, ge=12)
    """After so long a message in flight counts as of unknown outcome: its sender was killed."""
    send_in_flight_max: int = Field(default=16, ge=1)
    """Messages one replica sends at a time; what is critical has four more."""
    send_poll_s: float = Field(default=1.0, gt=0)
    """How soon a replica finds what another one left."""
    digest_held_s_max: float = Field(default=1800.0, gt=0)
    """How long the notifications of an import are held when its end is not told."""
    digest_quiet_s: float = Field(default=5.0, gt=0)
    """How long they are held after its end, and after each that was overtaken by it."""

    @property
    def rules(self) -> Rules:
        """The figures of the chain."""
        return Rules(
            limits={
                "wecom": (Window(self.wecom_per_minute_max, _MINUTE),),
                "dingtalk": (Window(self.dingtalk_per_minute_max, _MINUTE),),
                "feishu": (Window(self.feishu_per_minute_max, _MINUTE), Window(self.feishu_per_second_max, _SECOND)),
            },
            guard=timedelta(seconds=self.robot_guard_s),
            rounds_max=self.send_rounds_max,
            backoff=timedelta(seconds=self.send_backoff_s),
            lease=timedelta(seconds=self.send_lease_s),
            rush={"feishu": timedelta(seconds=self.feishu_rush_s)},
        )

    @property
    def holding(self) -> Holding:
        """How long an import's notifications are held."""
        return Holding(timedelta(seconds=self.digest_held_s_max), timedelta(seconds=self.digest_quiet_s))
