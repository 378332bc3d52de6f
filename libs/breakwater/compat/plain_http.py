"""HTTP/1.1 by hand: a client library would mend the doubled and strange headers that must be sent here."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_ANSWER_SIZE_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body. Raises `ValueError`."""
        return json.loads(self.body)


async def get(url: str, target: str, headers: Sequence[tuple[str, str]] = (), *, timeout_s: float) -> Reply:
    """As `request`, for a GET."""
    return await request(url, "GET", target, headers, timeout_s=timeout_s)


async def request(
    url: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
) -> Reply:
    """One request on a connection of its own. Raises `OSError` or `TimeoutError`."""
    place = urlsplit(url)
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=_ANSWER_SIZE_BYTES_MAX)
        try:
            lines = [f"{method} {target} HTTP/1.1", f"host: {place.netloc}", "connection: close"]
            lines += [f"{name}: {value}" for name, value in headers]
            if body or method in {"POST", "PUT"}:
                lines.append(f"content-length: {len(body)}")
            writer.write("\r\n".join((*lines, "", "")).encode() + body)
            return _parsed(await reader.read())
        finally:
            writer.close()


def _parsed(content: bytes) -> Reply:
    head, _, body = content.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    parts = status_line.split(" ", 2)
    if len(parts) < 2 or not parts[1].isdigit():  # noqa: PLR2004 - version and status
        raise ConnectionError("no HTTP answer came")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(parts[1]), headers, body)
