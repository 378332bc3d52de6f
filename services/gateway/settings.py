"""The gateway's settings: every limit of the HTTP surface and of exports, by name."""

from pathlib import Path

from pydantic import Field

from breakwater.chassis.settings import ServiceSettings

_MIB = 1024 * 1024


class GatewaySettings(ServiceSettings):
    """On top of what every process is told."""

    http_port: int = Field(default=0, ge=0, le=65535)
    """0 picks a free one."""
    caller_jwks: str
    """Path or URL of the public keys of the callers' issuer."""
    caller_issuer: str
    hmac_key_file: Path
    """32 random bytes: recognises a request's body under its Idempotency-Key."""
    seal_key_file: Path
    """32 random bytes that seal the passwords of queued exports, mode 0600; files has the same."""
    seal_key_previous_file: Path | None = None
    """The key before, while something that it sealed may wait."""
    export_scratch_dir: Path
    """Uploads on their way and files of the local export engine; with several replicas a volume they share."""
    ops_url: str = "http://127.0.0.1:8090"
    """Where /ops redirects to."""

    boards_session_s_max: int = Field(default=12 * 3_600, ge=60)
    """How long a browser is signed in at the boards at most; never longer than its token lives."""

    http_concurrency_max: int = Field(default=512, ge=1)
    """Requests being answered at a time at most; what finds no room is 503."""
    http_concurrency_adaptive: bool = True
    """Whether the limit follows the latency below that maximum; else it is the maximum."""
    http_concurrency_min: int = Field(default=64, ge=1)
    """The adaptive limit never falls below."""
    http_concurrency_start: int = Field(default=128, ge=1)
    """The adaptive limit of a process that knows no latency yet."""
    http_latency_ratio_max: float = Field(default=2.0, ge=1)
    """The adaptive limit falls when most requests take so many times as long as unhindered."""
    http_ops_max: int = Field(default=32, ge=1)
    """Probes being answered at a time, beside the others."""
    http_streams_max: int = Field(default=64, ge=1)
    """Uploads and downloads at a time, beside the others; one more is 503."""
    http_connections_max: int = Field(default=2048, ge=1)
    http_head_size_bytes_max: int = Field(default=32 * 1024, ge=1024)
    """Request line and headers together; past it 431."""
    http_head_timeout_s: float = Field(default=10.0, gt=0)
    """From a request's first byte to the end of its headers."""
    http_keep_alive_s: int = Field(default=75, ge=1)
    """How long an idle connection stays open."""
    http_body_size_bytes_max: int = Field(default=_MIB, ge=1024)
    """A JSON body; past it 413."""
    http_send_timeout_s: float = Field(default=30.0, gt=0)
    """How long a downloading client may take none of its file."""
    upload_size_bytes_max: int = Field(default=64 * _MIB, ge=1024)
    """A file to import, with what multipart adds; past it 413."""
    uploads_max: int = Field(default=8, ge=1)
    """Uploads at a time; one more is 503."""
    rate_quota: int = Field(default=3000, ge=1)
    """Requests of one caller in `rate_window_s`, on each replica; past it 429."""
    rate_window_s: int = Field(default=1, ge=1)
    rate_callers_max: int = Field(default=20_000, ge=1)
    """Callers whose rate is remembered."""

    exports_open_max: int = Field(default=100, ge=1)
    """Exports one requester has under way at a time; one more is answered 429."""
    export_active_max: int = Field(default=32, ge=1)
    """Exports one replica looks after at a time."""
    export_lease_s: float = Field(default=5.0, gt=0)
    """How long an export stays with a replica that does not renew; after a kill another takes it up."""
    export_patience_s: float = Field(default=30.0, gt=0)
    """Without progress for so long, files is taken for out."""
    export_give_up_s: float = Field(default=900.0, gt=0)
    """After so long an export that neither engine could make fails."""
    export_follow_up_days: int = Field(default=7, ge=1)
    """How long a full file that is to follow is waited for."""
    snapshots_every_s: float = Field(default=900.0, ge=0)
    """Each dataset is kept anew this often, for exports while files and leads are both out; 0: never."""
    snapshots_retry_s: float = Field(default=15.0, gt=0)
    """A dataset that could not be read is tried again after this."""
    snapshots_age_s_max: float = Field(default=86_400.0, gt=0)
    """What is older is not served."""
    snapshots_size_bytes_max: int = Field(default=1024 * _MIB, ge=_MIB)
    """A dataset that is larger is not kept."""

    local_engines_max: int = Field(default=2, ge=1)
    """Child processes of the local export engine at a time."""
    local_engine_timeout_s: float = Field(default=60.0, gt=0)
    local_engine_memory_bytes_max: int = Field(default=512 * _MIB, ge=64 * _MIB)
    """Address space of a child."""
    local_engine_rows_max: int = Field(default=1_000_000, ge=1)
    local_engine_file_size_bytes_max: int = Field(default=1024 * _MIB, ge=_MIB)
    local_files_size_bytes_max: int = Field(default=4096 * _MIB, ge=_MIB)
    """All files of the local engine together; the oldest go first."""
    local_files_days: int = Field(default=3, ge=1)
    """How long a file of the local engine is kept."""
