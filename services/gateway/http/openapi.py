"""OpenAPI as callers need it, and /docs made of it: plain HTML from this process, no script, nothing from outside."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from breakwater.chassis.next_steps import NEXT_STEPS
from services.gateway.http.problems import Problem
from services.gateway.http.routes import Route

_VERSION = "1.0.0"
_DESCRIPTION = (
    "Leads, customers, exports and notifications behind one gateway. Errors are problem details (RFC 9457); a degraded"
    " answer carries the header `Degraded` and says what is missing."
)
_PROBLEM_STATUSES = {
    "401": "No valid token.",
    "403": "The role does not allow this.",
    "404": "It does not exist, or the caller may not see it.",
    "409": "The present state does not allow this, or the key is in flight.",
    "413": "The body is too large.",
    "415": "The body has the wrong type.",
    "422": "The input breaks a rule; `errors` names the fields.",
    "429": "Too many requests of this caller.",
    "503": "A dependency is out or busy; `Retry-After` says when to try again.",
}
_PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the routes."""
    schema = get_openapi(title="Breakwater", version=_VERSION, description=_DESCRIPTION, routes=routes)
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem_schema = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem_schema.pop("$defs", {}) | {"Problem": problem_schema}
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    components["securitySchemes"] = {
        "caller": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of the configured issuer.",
        }
    }
    by_operation = {(route.method.lower(), route.path): route for route in routes}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete(operation, by_operation[method, path])
    return schema


def _complete(operation: dict[str, Any], route: Route) -> None:
    responses = operation["responses"]
    # A copy: what a route was declared with may be shared among routes.
    parameters = operation["parameters"] = list(operation.get("parameters", ()))
    if route.access.open:
        responses.pop("422", None)
        return
    operation["security"] = [{"caller": []}]
    operation["x-roles"] = sorted(route.access.roles)
    has_input = "requestBody" in operation or bool(parameters)
    for status, description in _PROBLEM_STATUSES.items():
        if status in {"413", "415"} and "requestBody" not in operation:
            continue
        if status == "422" and not has_input:
            continue
        responses[status] = {"description": description, "content": _PROBLEM_CONTENT}
    parameters.append(
        _header(
            "X-Request-Timeout", f"Deadline in seconds; at most {route.access.deadline_max_s:g}.", {"type": "number"}
        )
    )
    parameters.append(_header("traceparent", "W3C trace context.", {"type": "string"}))


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_CODE = re.compile("`([^`]+)`")
_STYLE = """
body{font:15px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem}details{border:1px solid #d5dde5;border-radius:6px;margin:.4rem 0;padding:.4rem .8rem}
summary{cursor:pointer}code,pre{font:13px/1.45 ui-monospace,monospace;background:#f3f6f9;border-radius:4px}
code{padding:.1rem .3rem}
pre{padding:.6rem;overflow:auto}.m{display:inline-block;width:4.2rem;font-weight:600;color:#0b5cad}.r{color:#5a6b7b}
dt{font-weight:600;margin-top:.6rem}dd{margin:0 0 .4rem 1.2rem}
"""
DOCS_POLICY = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)
"""Content-Security-Policy of the page: its own style and nothing else."""


def page(schema: dict[str, Any]) -> bytes:
    """The API as one page of HTML."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Breakwater API</title><style>{_STYLE}</style><h1>Breakwater API</h1>",
        f"<p>{_text(schema['info']['description'])}</p>",
        "<p>The same for machines: <a href=/openapi.json>/openapi.json</a></p>",
    ]
    groups: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["platform"])[0]
            groups.setdefault(tag, []).append(_operation(method, path, operation))
    for tag, operations_shown in groups.items():
        parts += [f"<h2>{_text(tag)}</h2>", *operations_shown]
    parts.append("<h2>Schemas</h2>")
    for name, definition in schema["components"]["schemas"].items():
        parts.append(
            f"<details id='schema-{_text(name)}'><summary>{_text(name)}</summary>{_schema(definition)}</details>"
        )
    parts.append("<h2>Problems</h2><dl>")
    parts += [
        f"<dt id='problem-{code}'>{code}</dt><dd>{_text(next_step)}</dd>"
        for code, next_step in sorted(NEXT_STEPS.items())
    ]
    parts.append("</dl></html>")
    return "".join(parts).encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    roles = ", ".join(operation.get("x-roles", [])) or "open"
    head = f"<span class=m>{method.upper()}</span><code>{_text(path)}</code> {_text(operation.get('summary', ''))}"
    lines = [f"<details><summary>{head} <span class=r>{_text(roles)}</span></summary>"]
    if operation.get("description") not in {None, operation.get("summary")}:
        lines.append(f"<p>{_text(operation['description'])}</p>")
    body = operation.get("requestBody", {}).get("content", {})
    lines += [
        f"<p>Body: <code>{_text(kind)}</code> {_reference(content['schema'])}</p>" for kind, content in body.items()
    ]
    if operation.get("parameters"):
        lines.append("<dl>")
        lines += [
            f"<dt><code>{_text(parameter['name'])}</code> <span class=r>{parameter['in']}</span></dt>"
            f"<dd>{_text(parameter.get('description', ''))}</dd>"
            for parameter in operation["parameters"]
        ]
        lines.append("</dl>")
    lines.append("<dl>")
    for status, response in operation["responses"].items():
        shapes = " ".join(
            _reference(content["schema"]) for content in response.get("content", {}).values() if "schema" in content
        )
        lines.append(f"<dt>{_text(status)}</dt><dd>{_text(response['description'])} {shapes}</dd>")
    return "".join(lines) + "</dl></details>"


def _schema(definition: dict[str, Any]) -> str:
    required = set(definition.get("required", []))
    rows = [f"<p>{_text(definition.get('description', ''))}</p><dl>"]
    for name, field in definition.get("properties", {}).items():
        mark = "" if name in required else " <span class=r>optional</span>"
        shape = f"{_reference(field)} {_text(field.get('description', ''))}"
        rows.append(f"<dt><code>{_text(name)}</code>{mark}</dt><dd>{shape}</dd>")
    rows.append("</dl>")
    rows += [f"<pre>{_text(_pretty(example))}</pre>" for example in definition.get("examples", [])]
    return "".join(rows)


def _reference(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"<a href='#schema-{_text(name)}'>{_text(name)}</a>"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return " or ".join(_reference(option) for option in schema[choice])
    if schema.get("type") == "array":
        return "list of " + _reference(schema.get("items", {}))
    if "enum" in schema:
        return " | ".join(f"<code>{_text(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{_text(str(schema['const']))}</code>"
    return _text(str(schema.get("type", "")))


def _pretty(example: Any) -> str:
    return json.dumps(example, ensure_ascii=False, indent=2)


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", html.escape(text, quote=True))
