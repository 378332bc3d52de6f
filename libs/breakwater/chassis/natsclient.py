"""nats-py where it is slow: headers of events by the thousand. Half of a relay's and of a consumer's time went there.

What is overridden or used of its inside is held by tests/unit/chassis/test_natsclient.py.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import nats.errors
from nats.aio.client import Client

_VERSION_LINE: Final = "NATS/1.0\r\n"


class EventClient(Client):
    """nats-py's client with a quick parser of headers, and a way to send many messages as one write."""

    async def publish_many(self, messages: Sequence[tuple[str, bytes, Mapping[str, str]]]) -> None:
        """Sends `(subject, payload, headers)` in order, without asking for answers.

        Raises as `publish` does, and `ValueError` for a header that would break out of its line.
        """
        if not self.is_connected:
            raise nats.errors.ConnectionReconnectingError
        await self._send_command(b"".join(_command(*message) for message in messages))
        await self._flush_pending()

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        headers = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name] = value.strip()
        return headers


def _command(subject: str, payload: bytes, headers: Mapping[str, str]) -> bytes:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers):
        raise ValueError("a header holds a line break")
    block = f"{_VERSION_LINE}{text}\r\n".encode()
    return f"HPUB {subject} {len(block)} {len(block) + len(payload)}\r\n".encode() + block + payload + b"\r\n"
