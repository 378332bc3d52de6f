"""Browsers: a token is traded for a session cookie, and the cookie stands in for the token afterwards.

The token never reaches a script or a disk of the browser. Unsafe requests that come with a cookie must come from our own
page: `Sec-Fetch-Site`, else `Origin` (expectations.md, Security 7).
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.types import ASGIApp, Receive, Scope, Send

from breakwater.chassis.auth import CallerVerifier
from breakwater.chassis.auth.verify import bearer
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import PermissionDeniedError
from services.gateway.http.answers import Header
from services.gateway.http.problems import problem
from services.gateway.ops.http.replies import send_answer

COOKIE = "__Host-breakwater"
_SAFE = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, slots=True)
class _Session:
    token: str
    expires_at_s: float


class Sessions:
    """Who is signed in, in memory: a restart of the ops process asks everybody to sign in again."""

    def __init__(self, verifier: CallerVerifier, clock: Clock, *, sessions_max: int, session_s_max: int) -> None:
        self._verifier = verifier
        self._clock = clock
        self._sessions_max = sessions_max
        self._session_s_max = session_s_max
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    async def open(self, authorization: str | None) -> Header:
        """Opens a session for a token; the Set-Cookie header. Raises `TokenRefusedError`."""
        token = bearer(authorization)
        claims = await self._verifier.verify_claims(token)
        lives_s = min(self._session_s_max, claims.exp - self._clock.now().timestamp())
        identifier = secrets.token_urlsafe(32)
        self._sessions[identifier] = _Session(token, self._clock.monotonic() + lives_s)
        while len(self._sessions) > self._sessions_max:
            self._sessions.popitem(last=False)
        attributes = "Path=/; Secure; HttpOnly; SameSite=Strict"
        return (b"set-cookie", f"{COOKIE}={identifier}; {attributes}; Max-Age={int(lives_s)}".encode())

    def close(self, cookies: str | None) -> Header:
        """Ends the session; the Set-Cookie header that removes the cookie."""
        self._sessions.pop(_identifier(cookies), None)
        return (b"set-cookie", f"{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0".encode())

    def token(self, cookies: str | None) -> str | None:
        """The token of a session that is still open."""
        identifier = _identifier(cookies)
        session = self._sessions.get(identifier)
        if session is None:
            return None
        if session.expires_at_s <= self._clock.monotonic():
            del self._sessions[identifier]
            return None
        return session.token


class SessionGate:
    """An ASGI application around another: turns a session's cookie into its token, unless a token came by itself."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers: dict[bytes, bytes] = dict(scope["headers"])
            token = None
            if b"authorization" not in headers and b"cookie" in headers:
                token = self._sessions.token(headers[b"cookie"].decode("latin-1"))
            if token is not None:
                if scope["method"] not in _SAFE and not _same_origin(headers):
                    refusal = PermissionDeniedError("this request did not come from our own page")
                    await send_answer(problem(refusal, secrets.token_hex(12)), send)
                    return
                scope = dict(scope, headers=[*scope["headers"], (b"authorization", f"Bearer {token}".encode())])
        await self._app(scope, receive, send)


def _same_origin(headers: dict[bytes, bytes]) -> bool:
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    origin = headers.get(b"origin", b"")
    return origin.partition(b"://")[2] == headers.get(b"host", b"-")


def _identifier(cookies: str | None) -> str:
    try:
        parsed: SimpleCookie = SimpleCookie(cookies or "")
    except CookieError:
        return ""
    return parsed[COOKIE].value if COOKIE in parsed else ""
