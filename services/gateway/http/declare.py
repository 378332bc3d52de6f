"""How resource modules declare their routes to FastAPI."""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi.routing import APIRouter

from breakwater.identity.v1.identity_pb2 import Idempotency
from services.gateway.http.call import Call
from services.gateway.http.routes import Endpoint, Route

KEYED: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "A replay within 48 h answers the first result, marked Idempotent-Replayed: true.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        }
    ]
}
"""`extra` of a route whose effect happens once for each key."""

Declared = TypeVar("Declared", bound=Endpoint)


class Api:
    """Collects routes of one class, which brings their access matrix."""

    def __init__(self, route_class: type[Route] = Route) -> None:
        self._router = APIRouter(route_class=route_class)

    @property
    def routes(self) -> tuple[Route, ...]:
        """In the order they were added; the first that matches is taken."""
        return tuple(route for route in self._router.routes if isinstance(route, Route))

    def route(
        self,
        method: str,
        path: str,
        view: Any,
        *,
        status: int = 200,
        tag: str,
        responses: dict[int | str, dict[str, Any]] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Callable[[Declared], Declared]:
        """Declares the decorated function as a route. Raises `LookupError` for one outside of the access matrix.

        `view` is the shape of the answer, shown in OpenAPI; the docstring's first line is the summary.
        """

        def declare(endpoint: Declared) -> Declared:
            self._router.add_api_route(
                path,
                endpoint,
                methods=[method],
                response_model=view,
                status_code=status,
                tags=[tag],
                summary=(endpoint.__doc__ or "").split("\n", 1)[0],
                responses=responses,
                openapi_extra=extra,
                operation_id=endpoint.__name__,
            )
            return endpoint

        return declare


def idempotency_of(call: Call) -> Idempotency:
    """The request's key with the HMAC of what was asked; empty without a key."""
    key = call.idempotency_key
    return Idempotency(key=key, body_hmac=call.body_hmac(call.content)) if key else Idempotency()
