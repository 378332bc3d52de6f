"""The on-call's page and its session: files of this package, nothing from outside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict
from typing_extensions import TypedDict

from breakwater.chassis.errors import NotFoundError
from services.gateway.http.answers import Answer, answer
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
    (b"cache-control", b"no-cache"),
]


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


def add_routes(api: Api, sessions: Sessions, runbooks: Path | None = None) -> None:
    """Adds the page, its files, the runbooks and the session."""
    guides = {path.stem: path.read_bytes() for path in runbooks.glob("*.md")} if runbooks else {}
    files: Mapping[str, bytes] = {path.name: path.read_bytes() for path in FILES.iterdir() if path.suffix in _TYPES}

    def file(name: str) -> Answer:
        content_type = _TYPES[Path(name).suffix] + b"; charset=utf-8"
        return Answer(200, files[name], media_type=content_type, headers=list(_HEADERS))

    @api.route("GET", "/ops", None, tag="page")
    async def get_page(call: Call, place: Annotated[Place, Query()]) -> Answer:
        """The dependency-health page, or the way in."""
        del place  # the script reads it
        return file("index.html" if sessions.token(call.header("cookie")) else "login.html")

    @api.route("GET", "/ops/assets/{name}", None, tag="page")
    async def get_asset(name: str) -> Answer:
        """A file of the page."""
        if name not in files or name.endswith(".html"):
            raise NotFoundError("there is no such file")
        return file(name)

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
