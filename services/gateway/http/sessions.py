"""Browsers at the boards: a token is traded for a cookie, which stands in for the token where boards are read, and nowhere else.

The cookie *is* the token, sealed: no replica has to remember a session, any of them serves it, and it ends with the token. No
script sees it (HttpOnly), no other site sends it (SameSite, `__Host-`), and it does not pass for a token elsewhere: what changes
something asks for the token itself.
"""

import base64
import binascii
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from starlette.types import ASGIApp, Receive, Scope, Send

from breakwater.chassis.auth import CallerVerifier
from breakwater.chassis.auth.claims import TokenRefusedError
from breakwater.chassis.auth.verify import bearer
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import InvalidRequestError
from breakwater.chassis.sealing import Seals
from services.gateway.http.answers import Header

COOKIE = "__Host-breakwater-boards"
READ_WITH_COOKIE = "/v1/boards/"
"""Below this path a GET may come with the cookie in place of a token."""
TOKEN_BYTES_MAX = 2_800
"""Browsers keep cookies of 4 KiB; sealing and its text form add a third."""
_BOUND_TO = "boards-session"
_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"


class Sessions:
    """Makes cookies of tokens, and tokens of cookies."""

    def __init__(self, verifier: CallerVerifier, seals: Seals, clock: Clock, *, session_s_max: int) -> None:
        self._verifier = verifier
        self._seals = seals
        self._clock = clock
        self._session_s_max = session_s_max

    async def open(self, authorization: str | None) -> Header:
        """The Set-Cookie header for a token. Raises `TokenRefusedError`, `InvalidRequestError` for one too long for a cookie."""
        token = bearer(authorization)
        claims = await self._verifier.verify_claims(token)
        if len(token) > TOKEN_BYTES_MAX:
            raise InvalidRequestError(f"a token of more than {TOKEN_BYTES_MAX} bytes does not fit a cookie")
        lives_s = int(min(self._session_s_max, claims.exp - self._clock.now().timestamp()))
        sealed = base64.urlsafe_b64encode(self._seals.seal(token, _BOUND_TO)).decode()
        return (b"set-cookie", f"{COOKIE}={sealed}; {_ATTRIBUTES}; Max-Age={lives_s}".encode())

    def close(self) -> Header:
        """The Set-Cookie header that takes the cookie away."""
        return (b"set-cookie", f"{COOKIE}=; {_ATTRIBUTES}; Max-Age=0".encode())

    def token(self, cookies: str | None) -> str | None:
        """The token in the cookie, which may have expired; None without one of ours."""
        try:
            parsed: SimpleCookie = SimpleCookie(cookies or "")
            sealed = base64.b64decode(parsed[COOKIE].value, altchars=b"-_", validate=True)
        except (CookieError, KeyError, binascii.Error, ValueError):
            return None
        return self._seals.open(sealed, _BOUND_TO)

    async def signed_in(self, cookies: str | None) -> bool:
        """Whether the cookie holds a token that is valid now."""
        token = self.token(cookies)
        if token is None:
            return False
        try:
            await self._verifier.verify_claims(token)
        except TokenRefusedError:
            return False
        return True


class SessionGate:
    """An ASGI application around another: where boards are read, a cookie becomes its token, unless a token came by itself."""

    def __init__(self, app: ASGIApp, token_of: Callable[[str | None], str | None]) -> None:
        self._app = app
        self._token_of = token_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(READ_WITH_COOKIE):
            headers: dict[bytes, bytes] = dict(scope["headers"])
            if b"authorization" not in headers and b"cookie" in headers:
                token = self._token_of(headers[b"cookie"].decode("latin-1"))
                if token is not None:
                    scope = dict(scope, headers=[*scope["headers"], (b"authorization", f"Bearer {token}".encode())])
        await self._app(scope, receive, send)
