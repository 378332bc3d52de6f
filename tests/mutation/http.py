"""Breaks HTTP: routes, roles, what requests may say, what answers hold, by the gateway's own declarations."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.mutation.mutant import Mutant, Source, deployed, walk

ACCESS = "services/gateway/http/access.py"
EDGE = "services/gateway/http/edge.py"
OPENAPI = "services/gateway/http/openapi.py"
ROUTES = "services/gateway/http/routes.py"
MODULES = ("customers", "exports", "imports", "leads", "notifications", "people", "routing")
ROLES = ("service", "sales", "manager", "oncall", "sre", "admin")


def mutants() -> Iterator[Mutant]:
    """All of them, in a fixed order."""
    for name, edits in (*_access(), *_paths(), *_schemas(), *_edge()):
        yield Mutant(f"http: {name}", "gateway", "http", ("callers",), edits)


def _access() -> Iterator[tuple[str, dict[str, str]]]:
    """Each guarded route of the matrix: opened, closed to a role, opened to one."""
    source, released = Source.of(ACCESS), _routes()
    for line in source.text.splitlines():
        found = re.match(r'    \("([A-Z]+)", "(/v1[^"]*)"\): Access\((\w+)(.*)\),$', line)
        if not found or (found[1], found[2]) not in released:
            continue
        method, path, roles, rest = found.groups()
        route = f'    ("{method}", "{path}"): '
        yield f"{method} {path} asks for no token", source.replaced(line, f"{route}_OPEN,")
        yield (
            f"{method} {path} closed to managers",
            source.replaced(line, f"{route}Access({roles} - {{Role.MANAGER}}{rest}),"),
        )
        if roles != "_EVERYBODY":
            yield (
                f"{method} {path} opened to sre",
                source.replaced(line, f"{route}Access({roles} | {{Role.SRE}}{rest}),"),
            )


def _paths() -> Iterator[tuple[str, dict[str, str]]]:
    """Each route under another path, and by another method."""
    access, released = Source.of(ACCESS), _routes()
    for module in MODULES:
        source = Source.of(f"services/gateway/http/{module}.py")
        for method, path in re.findall(r'api\.route\(\s*"([A-Z]+)",\s*"([^"]+)"', source.text):
            if (method, path) not in released:
                continue
            other = path.replace("/v1/", "/v2/")
            declared = re.search(rf'api\.route\(\s*"{method}",\s*"{re.escape(path)}"', source.text)
            assert declared is not None
            moved = declared[0].replace(path, other)
            edits = source.replaced(declared[0], moved) | access.replaced(
                f'("{method}", "{path}")', f'("{method}", "{other}")'
            )
            yield f"{method} {path} moved to {other}", edits
            swapped = {"GET": "DELETE", "POST": "PATCH", "PUT": "POST"}[method]
            edits = source.replaced(declared[0], declared[0].replace(f'"{method}"', f'"{swapped}"'))
            yield (
                f"{method} {path} by {swapped}",
                edits | access.replaced(f'("{method}", "{path}")', f'("{swapped}", "{path}")'),
            )


def _schemas() -> Iterator[tuple[str, dict[str, str]]]:
    """Each field of what is taken and answered."""
    for module in MODULES:
        source = Source.of(f"services/gateway/http/{module}.py")
        for declared, node in _shown_fields(source):
            bases = {getattr(each, "id", "") for each in declared.bases}
            name = f"{declared.name}.{node.target.id}"
            kind = source.segment(node.annotation)
            if "Input" in bases:
                yield f"{name} renamed", source.with_node(node.target, f"{node.target.id}_v2")
                if node.value is not None:
                    yield (
                        f"{name} needed",
                        source.with_node(node.value, "Field()")
                        if "Field" in source.text
                        else _line(source, node, f"    {node.target.id}: {kind}"),
                    )
            elif "TypedDict" in bases:
                yield f"{name} renamed", source.with_node(node.target, f"{node.target.id}_v2")
                if not kind.startswith("NotRequired"):
                    other = "int" if kind.startswith("str") else "str"
                    yield f"{name} of type {other}", source.with_node(node.annotation, other)


def _shown_fields(source: Source) -> Iterator[tuple[ast.ClassDef, Any]]:
    """The fields of a module's models that the deployed document has, each with its model."""
    shown = {name: each.get("properties", {}) for name, each in _document()["components"]["schemas"].items()}
    for declared in walk(source.tree(), ast.ClassDef):
        for node in declared.body:
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") in shown.get(declared.name, ()):
                yield declared, node


def _document() -> dict[str, Any]:
    """What the deployed gateway says of itself: what is in no release yet breaks nobody."""
    document: dict[str, Any] = json.loads((deployed("gateway") / "openapi.json").read_text(encoding="utf-8"))
    return document


def _routes() -> set[tuple[str, str]]:
    """Method and path of each deployed operation."""
    return {(method.upper(), path) for path, each in _document()["paths"].items() for method in each}


def _line(source: Source, node: ast.AnnAssign, new: str) -> dict[str, str]:
    return source.replaced(source.segment(node), new.strip())


def _edge() -> Iterator[tuple[str, dict[str, str]]]:
    edge, openapi, routes = Source.of(EDGE), Source.of(OPENAPI), Source.of(ROUTES)
    yield (
        "tokens are not asked for",
        edge.replaced(
            'call.actor = await self._verifier.verify(bearer(call.header("authorization")))',
            "from breakwater.chassis.identity import Actor, Scope\n"
            '            call.actor = Actor("gate", next(iter(route.access.roles)), Scope.ALL)',
        ),
    )
    yield "roles are not looked at", edge.replaced("if call.actor.role not in route.access.roles:", "if False:")
    yield "tokens are read from x-jwt", edge.replaced('call.header("authorization")', 'call.header("x-jwt")')
    yield (
        "refusals are 403",
        edge.replaced(
            "        if not route.access.open:\n",
            '        if not route.access.open and not call.header("authorization"):\n'
            '            raise PermissionDeniedError("no")\n        if not route.access.open:\n',
        ),
    )
    yield "another security scheme", openapi.replaced('"scheme": "bearer"', '"scheme": "basic"')
    yield "a scheme by another name", openapi.replaced('"caller": {', '"token": {')
    yield "no security in the document", openapi.replaced('operation["security"] = [{"caller": []}]', "")
    yield "ids of lower case letters only", routes.replaced('[A-Za-z0-9._:-]{1,64}$")]', '[a-z]{1,8}$")]')
    yield "pages of ten at most", routes.replaced("le=200", "le=10")
    yield "short texts", routes.replaced("max_length=200", "max_length=5")
