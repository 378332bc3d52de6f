"""What is open to everybody: liveness, readiness, the API's description, and the way to the on-call's page."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from typing_extensions import TypedDict

from breakwater.chassis.errors import UnavailableError
from services.gateway.http import openapi
from services.gateway.http.answers import Answer, answer
from services.gateway.http.declare import Api
from services.gateway.http.routes import Route


class StateView(TypedDict):
    """`ok`: this process answers.

    Dependencies are shown on /ops, never here: a slow database must not take every replica out.
    """

    status: str


def add_routes(api: Api, *, ready: Callable[[], bool], ops_url: str | None) -> None:
    """Adds the open routes; call it last, for /openapi.json and /docs describe every route there is."""
    described = _Description(api)

    @api.route("GET", "/healthz", StateView, tag="platform")
    async def get_liveness() -> Answer:
        """The process answers."""
        return answer(StateView(status="ok"))

    @api.route("GET", "/readyz", StateView, tag="platform")
    async def get_readiness() -> Answer:
        """The process takes requests; 503 while it starts or drains."""
        if not ready():
            raise UnavailableError("starting or draining", code="not_ready", retry_after_s=1.0)
        return answer(StateView(status="ok"))

    @api.route("GET", "/openapi.json", dict[str, Any], tag="platform")
    async def get_openapi() -> Answer:
        """The API as OpenAPI 3.1."""
        return Answer(200, described.json())

    @api.route("GET", "/docs", None, tag="platform")
    async def get_docs() -> Answer:
        """The API as a page."""
        headers = [(b"content-security-policy", openapi.DOCS_POLICY.encode()), (b"referrer-policy", b"no-referrer")]
        return Answer(200, described.html(), media_type=b"text/html; charset=utf-8", headers=headers)

    if ops_url is None:
        return

    @api.route("GET", "/ops", None, status=307, tag="platform")
    async def redirect_to_ops() -> Answer:
        """The on-call's page lives in the ops process."""
        return Answer(307, headers=[(b"location", f"{ops_url.rstrip('/')}/ops".encode())])


class _Description:
    """Made on first use: it costs 50 ms that a starting process need not wait for."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._json = b""
        self._html = b""

    def json(self) -> bytes:
        if not self._json:
            self._json = msgspec.json.encode(openapi.document(self._routes()))
        return self._json

    def html(self) -> bytes:
        if not self._html:
            self._html = openapi.page(openapi.document(self._routes()))
        return self._html

    def _routes(self) -> Sequence[Route]:
        return self._api.routes
