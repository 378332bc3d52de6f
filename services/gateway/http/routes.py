"""Routes: declared to FastAPI, which makes OpenAPI of their signatures; decoded and encoded here, lean.

A route's parameters are, by their type: `Call`; path parameters (`str`); one `Annotated[Model, Query()]`; one body, a
pydantic model. Models of input forbid what they do not name. FastAPI's own request handler costs 100 us more a request.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError
from services.gateway.http.access import MATRIX, Access
from services.gateway.http.answers import Answer, StreamAnswer
from services.gateway.http.call import Call
from services.gateway.http.problems import MalformedBodyError, UnsupportedMediaTypeError

Endpoint = Callable[..., Awaitable[Answer | StreamAnswer]]
Model = TypeVar("Model", bound=BaseModel)

# No control characters but tab and line ends: PostgreSQL refuses NUL, terminals and logs obey the others.
PRINTABLE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
_PATH_PARAMETER = re.compile(r"[A-Za-z0-9._:-]{1,64}")

ShortText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=PRINTABLE)]
"""Names, codes, words."""
LongText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000, pattern=PRINTABLE)]
"""What a person writes."""
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
"""An id of ours or of the system a record came from."""


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("UTC has no date for it") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""When something was or will be, with a zone."""


class Input(BaseModel):
    """A body: unknown fields are refused, and nothing is turned into another type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class QueryInput(BaseModel):
    """Query parameters: text by nature, so types are read from it; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)


class PageQuery(QueryInput):
    """A page of a list; `cursor` is the `next_cursor` of the page before."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(max_length=500)] = ""


class Route(APIRoute):
    """A route of the matrix; any other does not start."""

    matrix: ClassVar[Mapping[tuple[str, str], Access]] = MATRIX

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.method: str = next(iter(options["methods"]))
        try:
            self.access: Access = self.matrix[self.method, path]
        except KeyError:
            raise LookupError(f"{self.method} {path} is not in the access matrix") from None
        self._endpoint: Endpoint = endpoint
        self._body: tuple[str, type[BaseModel]] | None = None
        self._query: tuple[str, type[BaseModel]] | None = None
        self._call: str | None = None
        self._read_signature()

    async def run(self, call: Call, path_parameters: dict[str, str], body_size_bytes_max: int) -> Answer | StreamAnswer:
        """Decodes what the endpoint asks for and calls it. Raises what the endpoint raises, and errors of the input."""
        arguments: dict[str, Any] = {}
        for name, value in path_parameters.items():
            # No id of ours looks otherwise, so there is nothing such a path could name.
            if not _PATH_PARAMETER.fullmatch(value):
                raise NotFoundError("there is no such record")
            arguments[name] = value
        if self._call is not None:
            arguments[self._call] = call
        if self._query is not None:
            name, model = self._query
            arguments[name] = query_of(call, model)
        elif call.scope["query_string"]:
            query_of(call, QueryInput)
        if self._body is not None:
            name, model = self._body
            arguments[name] = await body_of(call, model, body_size_bytes_max)
        return await self._endpoint(**arguments)

    def _read_signature(self) -> None:
        for name, parameter in inspect.signature(self._endpoint).parameters.items():
            kind = parameter.annotation
            if kind is Call:
                self._call = name
            elif get_origin(kind) is Annotated and issubclass(get_args(kind)[0], BaseModel):
                self._query = (name, get_args(kind)[0])
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                self._body = (name, kind)
            elif name not in self.param_convertors:
                raise TypeError(f"{self.method} {self.path}: what is {name}?")


async def body_of(call: Call, model: type[Model], size_bytes_max: int) -> Model:
    """The JSON body; its bytes are kept on the call for `Call.body_hmac`.

    Raises `UnsupportedMediaTypeError`, `PayloadTooLargeError`, `MalformedBodyError`, `InvalidRequestError`.
    """
    content_type = call.raw_headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
    if content_type != b"application/json":
        raise UnsupportedMediaTypeError("the body must be application/json")
    call.content = await call.whole_body(size_bytes_max)
    try:
        return model.model_validate_json(call.content)
    except ValidationError as error:
        raise _input_error(error, "the body") from None


def query_of(call: Call, model: type[Model]) -> Model:
    """The query parameters, each given once. Raises `InvalidRequestError`."""
    raw = call.scope["query_string"]
    try:
        pairs = (
            parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50) if raw else []
        )
    except ValueError:
        raise InvalidRequestError("the query string is not valid") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise InvalidRequestError("a query parameter was given twice")
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        raise _input_error(error, "the query") from None


def _input_error(error: ValidationError, where: str) -> InvalidRequestError:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return MalformedBodyError("the body is not valid JSON", errors=(FieldError("body", found[0]["msg"]),))
    return InvalidRequestError(
        f"{where} breaks a rule",
        errors=tuple(
            FieldError(".".join(str(step) for step in entry["loc"]) or "body", _reason(entry["type"], entry["msg"]))
            for entry in found[:100]
        ),
    )


def _reason(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "is not a field of this request"
    if kind == "string_pattern_mismatch":
        return "holds characters that are not allowed"
    return message.removeprefix("Value error, ")
