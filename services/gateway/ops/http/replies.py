"""Sends a whole answer from an ASGI application that stands before the routes."""

from starlette.types import Send

from services.gateway.http.answers import Answer


async def send_answer(reply: Answer, send: Send) -> None:
    """Status, headers and body."""
    length = str(len(reply.body)).encode()
    headers = [(b"content-type", reply.media_type), (b"content-length", length), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
