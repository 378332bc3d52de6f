"""JSON documents on their way through protobuf."""

from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

from breakwater.chassis.errors import FieldError, InvalidRequestError

_DEPTH_MAX = 20


def struct_of(document: dict[str, Any]) -> Struct:
    """The document for a request. Raises InvalidRequestError for one that protobuf cannot hold."""
    try:
        return ParseDict(document, Struct(), max_recursion_depth=_DEPTH_MAX)
    except (ParseError, RecursionError):
        raise InvalidRequestError(
            "the document is not usable",
            errors=(FieldError("document", f"must be JSON at most {_DEPTH_MAX} levels deep"),),
        ) from None


def document_of(struct: Struct) -> dict[str, Any]:
    """The document of an answer, with 2 where protobuf, which knows only floating point, says 2.0."""
    document: dict[str, Any] = _whole_numbers(MessageToDict(struct))
    return document


def _whole_numbers(value: Any) -> Any:
    match value:
        case dict():
            return {name: _whole_numbers(inner) for name, inner in value.items()}
        case list():
            return [_whole_numbers(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
