"""What the ops process is told beside what every process is told."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from breakwater.chassis.settings import ServiceSettings

OWNERS = {
    "leads": "leads",
    "notify": "notify",
    "files": "files",
    "health": "health",
    "gateway": "gateway",
    "postgres": "platform",
    "nats": "platform",
    "objects": "platform",
}


class OpsSettings(ServiceSettings):
    """Variables of the ops process."""

    http_port: int = Field(default=0, ge=0, le=65535)
    """0 picks a free one."""
    caller_jwks: str
    """Path or URL of the public keys of the callers' issuer."""
    caller_issuer: str
    gateway_url: str = "http://127.0.0.1:8080"
    """Where the API is, for links."""
    ops_url: str = ""
    """Where people reach this process, for the link in an alarm; without it alarms have none."""
    alarm_recipients: Annotated[tuple[str, ...], NoDecode] = ("oncall",)
    """Whose inboxes get alarms, separated by commas: subs of persons, or of a shared inbox."""
    alarm_robot: Literal["", "wecom", "dingtalk", "feishu"] = ""
    """Tells alarms that notify does not take, in on-call's group; its base is in HTTP_BASES. None: there is no second way."""
    alarm_robot_key_file: Path | None = None
    """The key in the robot's address."""
    alarm_robot_secret_file: Path | None = None
    """The secret its messages are signed with (dingtalk, feishu)."""
    alarms_pending_max: int = Field(default=200, ge=1)
    """Alarms that wait for somebody who takes them; past it the oldest is given up."""
    alarm_give_up_s: float = Field(default=3_600.0, ge=60)
    """How long an alarm is tried."""
    http_concurrency_max: int = Field(default=128, ge=1)
    """Requests being answered at a time, streams not counted; one more is 503."""
    http_connections_max: int = Field(default=512, ge=1)
    http_head_size_bytes_max: int = Field(default=32 * 1024, ge=1024)
    http_head_timeout_s: float = Field(default=10.0, gt=0)
    http_keep_alive_s: int = Field(default=75, ge=1)
    http_body_size_bytes_max: int = Field(default=64 * 1024, ge=1024)
    http_send_timeout_s: float = Field(default=10.0, gt=0)
    rate_quota: int = Field(default=200, ge=1)
    """Requests of one caller in `rate_window_s`; past it 429."""
    rate_window_s: int = Field(default=1, ge=1)
    rate_callers_max: int = Field(default=10_000, ge=1)
    streams_max: int = Field(default=200, ge=1)
    """Open event streams; one more is 503."""
    sessions_max: int = Field(default=1_000, ge=1)
    """Signed-in browsers; the oldest goes first."""
    session_s_max: int = Field(default=12 * 3600, ge=60)
    """A session ends with its token, at the latest after so long."""
    owners: Annotated[Mapping[str, str], NoDecode] = Field(default_factory=lambda: dict(OWNERS))
    """name=team,...: who owns a dependency or a service, shown with each incident; as in deploy/slo.yaml unless set."""
    incident_unknown_s_max: float = Field(default=3_600.0, ge=60)
    """An incident whose edges nobody asks any more, or nobody tells of, ends after so long, its state unknown."""
    history_fine_s: int = Field(default=900, ge=60, le=3_600)
    """Seconds of every edge kept by the second, in memory; some 0.1 MB an edge."""
    history_coarse_s: int = Field(default=86_400, ge=3_600, le=7 * 86_400)
    """Seconds of every edge kept by ten seconds, in memory; some 0.1 MB an edge and day."""
    history_edges_max: int = Field(default=500, ge=1)
    """Edges, their instances summed, that are remembered; one more is shown without its past."""
    playbooks_dir: Path | None = None
    """The folder deploy/playbooks of a tree; none are offered without it."""
    playbook_command: tuple[str, ...] = ()
    """A JSON list: how `breakwater` is called for the steps that deploy, restart or run the gate, in the tree of `playbooks_dir`;
    without it they are refused."""
    state: Path | None = None
    """The local platform's state, for that command."""

    objectives_file: Path | None = None
    """deploy/slo.yaml of a tree: what is promised of dependencies; without it no edge has an error budget."""
    runbooks_dir: Path | None = None
    """Markdown files named as alerts, which the page shows; without it its runbook links say that there are none."""

    @property
    def console_url(self) -> str:
        """Of the page, for the link in an alarm; empty where nobody said where people reach this process."""
        return f"{self.ops_url}/ops" if self.ops_url else ""

    @field_validator("owners", mode="before")
    @classmethod
    def _parse_owners(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [entry.partition("=") for entry in filter(None, (part.strip() for part in value.split(",")))]
        if not all(name and owner for name, _, owner in pairs):
            raise ValueError("must be name=team,...")
        return {name: owner for name, _, owner in pairs}

    @field_validator("alarm_recipients", mode="before")
    @classmethod
    def _parse_recipients(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
