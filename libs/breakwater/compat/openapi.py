"""The HTTP dimension's reading of OpenAPI: requests made of it, and what of it a caller may lean on."""

import json
import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "put", "post", "delete", "patch")
_BOUNDARY = "breakwater-gate"
_DEPTH_MAX = 6
_NOTHING: Mapping[str, str] = {}
_MOMENT = "2031-01-01T10:00:00+08:00"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation with a request that its own document calls good."""

    method: str
    path: str
    spec: dict[str, Any]
    target: str
    """The path with ids put in."""
    body: bytes
    media_type: str

    @property
    def name(self) -> str:
        """`POST /v1/leads`."""
        return f"{self.method.upper()} {self.path}"

    @property
    def guarded(self) -> bool:
        """Whether the document asks for a credential."""
        return bool(self.spec.get("security"))


def operations(document: dict[str, Any], known: Mapping[str, str] = _NOTHING) -> list[Operation]:
    """Every operation, with ids that nobody knows in its path but for those `known` by the name of their parameter.

    Raises `ValueError` for what is no OpenAPI document.
    """
    paths = document.get("paths")
    if not isinstance(paths, dict):
        raise ValueError("the OpenAPI document has no paths")  # noqa: TRY004 - a document's fault, not a program's
    return [_operation(document, path, method, spec, known) for path, method, spec in _specs(paths)]


def _specs(paths: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in sorted(paths.items()):
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _operation(
    document: dict[str, Any], path: str, method: str, spec: dict[str, Any], known: Mapping[str, str]
) -> Operation:
    target = path
    for name in (part[1:-1] for part in path.split("/") if part.startswith("{")):
        target = target.replace(f"{{{name}}}", known.get(name) or str(uuid.uuid5(uuid.NAMESPACE_URL, name)))
    content = spec.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        schema = content["application/json"]["schema"]
        return Operation(method, path, spec, target, json.dumps(example(document, schema)).encode(), "application/json")
    if "multipart/form-data" in content:
        return Operation(method, path, spec, target, _upload(), f"multipart/form-data; boundary={_BOUNDARY}")
    return Operation(method, path, spec, target, b"", "")


def _upload() -> bytes:
    table = "name,company,phone,source\r\nGate,Gate,13800000000,website\r\n"
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="leads.csv"\r\n'
    return f"{head}Content-Type: text/csv\r\n\r\n{table}\r\n--{_BOUNDARY}--\r\n".encode()


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema a reference stands for."""
    while "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = target
    return schema


def example(document: dict[str, Any], schema: dict[str, Any], depth: int = 0) -> Any:
    """A value the schema takes: its own example, else the least that is required."""
    schema = resolved(document, schema)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return example(document, schema[choice][0], depth + 1)
    stated = [*schema.get("examples", []), *schema.get("enum", []), schema.get("default"), schema.get("const")]
    value = next((each for each in stated if each is not None), None)
    if value is not None or depth > _DEPTH_MAX:
        return value
    if schema.get("type") == "object":
        required = schema.get("required", [])
        return {name: example(document, schema["properties"][name], depth + 1) for name in required}
    if schema.get("type") == "array":
        return [example(document, schema["items"], depth + 1) for _ in range(schema.get("minItems", 0))]
    text = _MOMENT if schema.get("format") == "date-time" else "x" * max(1, schema.get("minLength", 1))
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    # A document may write the least integer as 1.0, which is none in JSON.
    return {"integer": math.ceil(least), "number": least, "boolean": True}.get(schema.get("type", ""), text)
