"""A real SMTP server (aiosmtpd) on the test's own loop, whose answers the test decides."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiosmtpd.smtp import SMTP


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as it was handed over."""

    sender: str
    recipients: tuple[str, ...]
    text: bytes


class Postbox:
    """Takes mail. A handler answers with an SMTP line, or None to take what it was given."""

    def __init__(self) -> None:
        self.taken: list[Mail] = []
        self.port = 0
        self.connections = 0
        self.to_recipient: Callable[[str], str | None] = lambda address: None
        self.to_data: Callable[[Mail], str | None] = lambda mail: None
        self.hang_at_data = False
        self.waiting = False
        """Whether a message hangs."""
        self._open: set[asyncio.BaseTransport] = set()

    def addresses(self) -> list[str]:
        """Everybody who got a message, once for each message."""
        return [recipient for mail in self.taken for recipient in mail.recipients]

    def drop_connections(self) -> None:
        for transport in list(self._open):
            transport.abort()  # type: ignore[attr-defined]

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        said = self.to_recipient(address)
        if said is None:
            envelope.rcpt_tos.append(address)
        return said or "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        mail = Mail(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content)
        if self.hang_at_data:
            self.waiting = True
            await asyncio.Event().wait()
        said = self.to_data(mail)
        if said is None:
            self.taken.append(mail)
        return said or "250 OK"


@asynccontextmanager
async def postbox(**options: Any) -> AsyncIterator[Postbox]:
    """A postbox for the time of a block; `options` are aiosmtpd's."""
    box = Postbox()
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        box.connections += 1
        made = SMTP(box, hostname="postbox", loop=loop, **options)
        begin = made.connection_made

        def connection_made(transport: Any) -> None:
            box._open.add(transport)
            begin(transport)

        made.connection_made = connection_made
        return made

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        box.drop_connections()
        await asyncio.sleep(0)
