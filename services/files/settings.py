"""What files is told beside what every process is told."""

from pathlib import Path

from pydantic import Field

from breakwater.chassis.settings import ServiceSettings


class FilesSettings(ServiceSettings):
    """Variables of the files process."""

    object_store_url: str = Field(pattern=r"^(file:///|s3://)")
    """Where files are kept: file:///absolute/folder, or s3://bucket/prefix."""
    object_store_options_file: Path | None = None
    """A JSON object of the store's options, mode 0600: credentials, region, endpoint of an S3-compatible server."""
    seal_key_file: Path
    """32 random bytes that open the passwords of queued exports, mode 0600; the gateway has the same."""
    seal_key_previous_file: Path | None = None
    """The key before, while something that it sealed may wait."""
    object_store_probe_interval_s: float | None = Field(default=None, ge=10)
    """Seconds between two synthetic probes of the object store (an object is written, read, removed); none without it."""
    finance_probe_interval_s: float | None = Field(default=None, ge=10)
    """Seconds between two synthetic probes of the finance system at HTTP_BASES (`finance=...`); none without it."""
    finance_key_file: Path | None = None
    """Its bearer token, mode 0600."""
    zone: str = "Asia/Shanghai"
    """The time zone times in files are read in; their headers name it."""
    exports_concurrency_max: int = Field(default=2, ge=1, le=64)
    """Files made at a time by one process, each with an encoder process of its own."""
    exports_quick_concurrency_max: int = Field(default=2, ge=0, le=64)
    """Files of few rows made beside those: a small export does not wait for large ones."""
    exports_quick_rows_max: int = Field(default=20_000, ge=1)
    """So many rows are few."""
    export_stalled_s: float = Field(default=30.0, gt=1)
    """A file that no row is added to for so long is given up and tried again."""
    exports_queued_max: int = Field(default=10_000, ge=1)
    """Exports waiting; one more is answered RESOURCE_EXHAUSTED."""
    export_rows_max: int = Field(default=5_000_000, ge=1)
    export_size_bytes_max: int = Field(default=2 * 1024**3, ge=1024)
    export_retention_s: float = Field(default=14 * 86_400.0, gt=0)
    """Files are removed after this; longer than events can be delivered again."""
    encoder_spool_dir: Path | None = None
    """Where an encrypted file waits, encrypted and without a name, until its size is known; the system's own place without it.
    At most EXPORT_SIZE_BYTES_MAX for each of EXPORTS_CONCURRENCY_MAX."""
    encoder_memory_bytes_max: int = Field(default=512 * 1024**2, ge=128 * 1024**2)
    """Address space of one encoder process."""
    report_rows_max: int = Field(default=2_000, ge=1)
    """Rows of a PDF report; past it the export is refused with `file_full`."""
    report_characters_max: int = Field(default=1_000_000, ge=1)
    """Characters of a PDF report's cells together."""
    letters_max: int = Field(default=5_000, ge=1)
    """Letters of one batch."""
    document_pages_max: int = Field(default=500, ge=1)
    """Pages of one PDF."""
    document_memory_bytes_max: int = Field(default=1024**3, ge=256 * 1024**2)
    """What one process that renders documents may fill."""
    document_cpu_s_max: int = Field(default=300, ge=1)
    """Seconds of computing for one export as PDF; one that stands still for so long is tried again."""
