"""The boards as a page, and its session: files of this package, nothing from outside.

The page names its files by an address that has their version in it: a browser keeps them for good. Modules name each other
beside themselves and so have the same.
"""

from hashlib import sha256
from pathlib import Path
from typing import Annotated

from fastapi import Query
from pydantic import ConfigDict
from typing_extensions import TypedDict

from breakwater.chassis.errors import NotFoundError
from services.gateway.http.answers import Answer, Header, answer
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import QueryInput
from services.gateway.http.sessions import Sessions

FILES = Path(__file__).parents[1] / "page"
_TYPES = {".js": b"text/javascript", ".css": b"text/css", ".svg": b"image/svg+xml", ".html": b"text/html"}
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_ASKED_AGAIN = (b"cache-control", b"no-cache")
_KEPT = (b"cache-control", b"public, max-age=31536000, immutable")


class SessionView(TypedDict):
    """Who signed in."""

    sub: str
    role: str


class Place(QueryInput):
    """What the page is to show; its script reads it, and what a later page may name is ignored."""

    model_config = ConfigDict(extra="ignore")


class Files:
    """The page's files, read once. `version` is of all of them together."""

    def __init__(self) -> None:
        found = {path.name: path.read_bytes() for path in sorted(FILES.iterdir()) if path.suffix in _TYPES}
        self.version = sha256(b"".join(name.encode() + content for name, content in found.items())).hexdigest()[:16]
        address = f"/boards/assets/{self.version}/".encode()
        self._files = {
            name: content.replace(b"/boards/assets/", address) if name.endswith(".html") else content
            for name, content in found.items()
        }

    def page(self, name: str) -> Answer:
        """A page, asked for anew each time: it names the files of its version."""
        return self._answer(name, _ASKED_AGAIN)

    def asset(self, name: str, version: str) -> Answer:
        """A file that a page names; kept where it is of the version that was asked for. Raises `NotFoundError`."""
        if name not in self._files or name.endswith(".html"):
            raise NotFoundError("there is no such file")
        return self._answer(name, _KEPT if version == self.version else _ASKED_AGAIN)

    def _answer(self, name: str, cache: Header) -> Answer:
        content_type = _TYPES[Path(name).suffix] + b"; charset=utf-8"
        return Answer(200, self._files[name], media_type=content_type, headers=[*_HEADERS, cache])


def add_routes(api: Api, sessions: Sessions) -> None:
    """Adds the page, its files and the session."""
    files = Files()

    @api.route("GET", "/boards", None, tag="boards")
    async def get_boards_page(call: Call, place: Annotated[Place, Query()]) -> Answer:
        """The boards as a page, or the way in."""
        del place
        return files.page("index.html" if await sessions.signed_in(call.header("cookie")) else "login.html")

    @api.route("GET", "/boards/assets/{version}/{name}", None, tag="boards")
    async def get_boards_asset(version: str, name: str) -> Answer:
        """A file of the page, to be kept. Another version's page gets the file there is, and asks for it again."""
        return files.asset(name, version)

    @api.route("POST", "/boards/session", SessionView, tag="boards")
    async def open_boards_session(call: Call) -> Answer:
        """Trades a token for a cookie that reads boards."""
        cookie = await sessions.open(call.header("authorization"))
        view: SessionView = {"sub": call.actor.sub, "role": call.actor.role.value}
        return answer(view, headers=[cookie])

    @api.route("DELETE", "/boards/session", None, status=204, tag="boards")
    async def close_boards_session() -> Answer:
        """Signs out."""
        return Answer(204, headers=[sessions.close()])
