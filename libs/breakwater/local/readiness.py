"""Asks a process whether it serves."""

import asyncio
import contextlib

from breakwater.local.ports import HOST

TIMEOUT_S = 1.0
ANSWER_SIZE_BYTES_MAX = 4_096


async def answers_ready(metrics_port: int) -> bool:
    """Whether GET /readyz on the metrics port says 200."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(HOST, metrics_port)
            try:
                writer.write(f"GET /readyz HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
                status_line = (await reader.read(ANSWER_SIZE_BYTES_MAX)).split(b"\r\n", 1)[0]
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return status_line.startswith(b"HTTP/1.") and b" 200 " in status_line + b" "
