"""One request as the routes see it. FastAPI leaves parameters of this type out of OpenAPI, since it is a `Request`."""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.types import Receive, Scope

from breakwater.chassis.errors import FieldError, InvalidRequestError, PayloadTooLargeError
from breakwater.chassis.identity import Actor
from services.gateway.http.access import Access

_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,200}")
_SINGLE = (
    b"authorization",
    b"content-type",
    b"content-length",
    b"idempotency-key",
    b"x-request-timeout",
    b"traceparent",
)


class ClientGoneError(Exception):
    """The client closed the connection before its body was complete: nobody is there to answer."""


class Call(Request):
    """A request with its caller, its limits and its idempotency key."""

    actor: Actor
    """Set before the route runs, on every route but the open ones."""

    def __init__(self, scope: Scope, receive: Receive, request_id: str, hmac_key: bytes) -> None:
        super().__init__(scope, receive)
        self.request_id = request_id
        self.raw_headers: dict[bytes, bytes] = dict(scope["headers"])
        self.reading = False
        """A body is being waited for: a time-out now is the client's."""
        self.content = b""
        """The JSON body as it came, once it was read."""
        self.access: Access | None = None
        """What the matrix says of its route, once it was let in."""
        self.route = ""
        """The path's pattern, once it is known."""
        self.answer_headers: list[tuple[bytes, bytes]] = []
        """What is told with whatever the answer will be."""
        self._hmac_key = hmac_key

    def refuse_doubled_headers(self) -> None:
        """Raises `InvalidRequestError` when a header that decides came twice: two parties might read two requests."""
        if len(self.raw_headers) == len(self.scope["headers"]):
            return
        names = [name for name, _ in self.scope["headers"]]
        doubled = [name.decode() for name in _SINGLE if names.count(name) > 1]
        if doubled:
            raise InvalidRequestError(
                "a header was sent twice", errors=tuple(FieldError(name, "must be sent once") for name in doubled)
            )

    async def gone(self) -> None:
        """Returns when the client has left; only for a request whose body was read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def header(self, name: str) -> str | None:
        """The value of a header, given in lower case."""
        value = self.raw_headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def idempotency_key(self) -> str:
        """The caller's key, or "" without one. Raises `InvalidRequestError` for a key outside of its limits."""
        key = self.raw_headers.get(b"idempotency-key")
        if key is None:
            return ""
        if not _IDEMPOTENCY_KEY.fullmatch(key):
            raise InvalidRequestError(
                "the Idempotency-Key is not usable",
                errors=(FieldError("Idempotency-Key", "must be 1 to 200 visible ASCII characters, without spaces"),),
            )
        return key.decode("ascii")

    def body_hmac(self, *parts: bytes) -> bytes:
        """HMAC-SHA256 of method, path and body: tells the same request from another one under the same key."""
        mac = hmac.new(self._hmac_key, digestmod=hashlib.sha256)
        for part in (self.scope["method"].encode(), self.scope["path"].encode(), *parts):
            # Lengths keep ("ab", "c") and ("a", "bc") apart.
            mac.update(len(part).to_bytes(8, "big"))
            mac.update(part)
        return mac.digest()

    async def pieces(self, size_bytes_max: int) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `PayloadTooLargeError` at the first byte too many, or when it is announced."""
        declared = self.raw_headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > size_bytes_max:
            raise _too_large(size_bytes_max)
        size_bytes = 0
        self.reading = True
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece: bytes = message.get("body", b"")
            size_bytes += len(piece)
            if size_bytes > size_bytes_max:
                raise _too_large(size_bytes_max)
            if piece:
                yield piece
            if not message.get("more_body", False):
                self.reading = False
                return

    async def whole_body(self, size_bytes_max: int) -> bytes:
        """The whole body, at most `size_bytes_max` of it."""
        parts = [piece async for piece in self.pieces(size_bytes_max)]
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(size_bytes_max: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"the body is larger than {size_bytes_max} bytes")
