"""The on-call's page and its session: files of this package, nothing from outside.

The page names its files by an address that has their version in it, so that a browser keeps them for good and asks for none
of them again; modules name each other beside themselves and so have the same.
"""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict
from typing_extensions import TypedDict

from breakwater.chassis.errors import NotFoundError
from services.gateway.http.answers import Answer, Header, answer
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import QueryInput
from services.gateway.ops.http.sessions import Sessions

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
_ENTRIES = ("page.js", "login.js")
"""Modules that a page begins with; it fetches the others beside them, not one after the other as they are named."""


class SessionView(TypedDict):
    """Who signed in."""

    sub: str
    role: str


class Place(QueryInput):
    """What the page is to show. What a later page may name is ignored."""

    model_config = ConfigDict(extra="ignore")

    view: str = ""
    q: str = ""
    level: str = ""
    caller: str = ""
    dependency: str = ""
    span: str = ""
    kind: str = ""
    ops: str = ""
    name: str = ""


class Files:
    """The page's files as they are served, read once. `version` is of all of them together."""

    def __init__(self) -> None:
        found = {path.name: path.read_bytes() for path in sorted(FILES.iterdir()) if path.suffix in _TYPES}
        self.version = sha256(b"".join(name.encode() + content for name, content in found.items())).hexdigest()[:16]
        modules = [name for name in found if name.endswith(".js") and name not in _ENTRIES]
        self._files = {
            name: self._page(content, modules) if name.endswith(".html") else content for name, content in found.items()
        }

    def page(self, name: str) -> Answer:
        """A page, which is asked for anew each time: it names the files of its version."""
        return self._answer(name, _ASKED_AGAIN)

    def asset(self, name: str, version: str = "") -> Answer:
        """A file that a page names; kept where it is of the version that was asked for. Raises `NotFoundError`."""
        if name not in self._files or name.endswith(".html"):
            raise NotFoundError("there is no such file")
        return self._answer(name, _KEPT if version == self.version else _ASKED_AGAIN)

    def _answer(self, name: str, cache: Header) -> Answer:
        content_type = _TYPES[Path(name).suffix] + b"; charset=utf-8"
        return Answer(200, self._files[name], media_type=content_type, headers=[*_HEADERS, cache])

    def _page(self, content: bytes, modules: list[str]) -> bytes:
        links = "\n  ".join(f'<link rel="modulepreload" href="/ops/assets/{name}">' for name in modules)
        whole = content.replace(b"<!-- modules -->", links.encode())
        return whole.replace(b"/ops/assets/", f"/ops/assets/{self.version}/".encode())


def add_routes(api: Api, sessions: Sessions, runbooks: Path | None = None) -> None:
    """Adds the page, its files, the runbooks and the session."""
    guides = {path.stem: path.read_bytes() for path in runbooks.glob("*.md")} if runbooks else {}
    files = Files()

    @api.route("GET", "/ops", None, tag="page")
    async def get_page(call: Call, place: Annotated[Place, Query()]) -> Answer:
        """The dependency-health page, or the way in."""
        del place  # the script reads it
        return files.page("index.html" if sessions.token(call.header("cookie")) else "login.html")

    @api.route("GET", "/ops/assets/{name}", None, tag="page")
    async def get_asset(name: str) -> Answer:
        """A file of the page."""
        return files.asset(name)

    @api.route("GET", "/ops/assets/{version}/{name}", None, tag="page")
    async def get_versioned_asset(version: str, name: str) -> Answer:
        """A file of the page, to be kept. Another version's page gets the file there is, and asks for it again."""
        return files.asset(name, version)

    @api.route("GET", "/ops/runbooks/{name}", None, tag="page")
    async def get_runbook(name: str) -> Answer:
        """What to do when this alert fires, in Markdown."""
        if name not in guides:
            raise NotFoundError("there is no such runbook")
        return Answer(200, guides[name], media_type=b"text/markdown; charset=utf-8")

    @api.route("POST", "/ops/session", SessionView, tag="page")
    async def open_session(call: Call) -> Answer:
        """Trades a token for a session cookie."""
        cookie = await sessions.open(call.header("authorization"))
        view: Any = SessionView(sub=call.actor.sub, role=call.actor.role.value)
        return answer(view, headers=[cookie])

    @api.route("DELETE", "/ops/session", None, status=204, tag="page")
    async def close_session(call: Call) -> Answer:
        """Signs out."""
        return Answer(204, headers=[sessions.close(call.header("cookie"))])
