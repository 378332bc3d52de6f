"""Everything that a platform keeps or shows, so that a test can look for what must not be there."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import httpx2

from tests.support.platform import SERVICES, Platform

Content = tuple[str, bytes]
"""Where, and what stands there."""


def places_of(word: str, platform: Platform) -> set[str]:
    """Where an ASCII word stands: as it is, as UTF-16, or as the hexadecimal of a bytea."""
    spelled = (word.encode(), word.encode("utf-16-le"), word.encode().hex().encode())
    return {
        place
        for place, content in chain(_files(platform), _rows(platform), _metrics(platform), _processes())
        if any(each in content for each in spelled)
    }


def _files(platform: Platform) -> Iterator[Content]:
    # Data and log of PostgreSQL, streams of NATS, logs, objects, the local engine's files.
    for path in platform.state.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                yield str(path.relative_to(platform.state)), path.read_bytes()


def _rows(platform: Platform) -> Iterator[Content]:
    for schema in SERVICES:
        for table in platform.sql("SELECT tablename AS name FROM pg_tables WHERE schemaname = $1", schema):
            name = f"{schema}.{table['name']}"
            for row in platform.sql(f"SELECT row_to_json(t)::text AS content FROM {name} t"):
                yield name, row["content"].encode()


def _metrics(platform: Platform) -> Iterator[Content]:
    for name, service in platform.ready["services"].items():
        port = re.search(r"(\d+)/?$", str(service["metrics"]))
        assert port, service
        yield f"metrics of {name}", httpx2.get(f"http://127.0.0.1:{port[1]}/metrics", timeout=30).content


def _processes() -> Iterator[Content]:
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                yield f"{name} of process {path.name}", (path / name).read_bytes()
