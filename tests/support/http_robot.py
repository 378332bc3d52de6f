"""A small HTTP server whose behaviour the test decides: `robot.answer` for each request, by default 200 and `{}`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Heard:
    """One request. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Says:
    """One answer; `raw` in place of all of it. `closes`: the connection ends with it."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    closes: bool = False

    def encoded(self) -> bytes:
        if self.raw is not None:
            return self.raw
        lines = [f"HTTP/1.1 {self.status} Said", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Robot:
    """Listens on `port`; `heard` are the requests so far."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answer: Callable[[Heard], Awaitable[Says] | Says] = lambda heard: Says()
        self.port = 0
        self.close: Callable[[], None] = lambda: None
        """Nobody can connect any more."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, *answers: Says) -> None:
        """These answers in order; the last one again and again."""
        left = list(answers)
        self.answer = lambda heard: left.pop(0) if len(left) > 1 else left[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                pairs = (line.split(": ", 1) for line in head[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                heard = Heard(method, target, headers, body)
                self.heard.append(heard)
                answer = self.answer(heard)
                answer = answer if isinstance(answer, Says) else await answer
                writer.write(answer.encoded())
                await writer.drain()
                if answer.closes or headers.get("connection") == "close":
                    writer.close()
                    return


@asynccontextmanager
async def robot() -> AsyncIterator[Robot]:
    """A robot for the time of a block; its connections end with it."""
    made = Robot()
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await made.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            open_now.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    made.close = server.close
    try:
        yield made
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
