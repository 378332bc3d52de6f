"""Breaks HTTP: routes, roles, what requests may say, what answers hold, by the gateway's own declarations."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.mutation.mutant import ROOT, Mutant, Source, walk

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
    source = Source.of(ACCESS)
    for line in source.text.splitlines():
        found = re.match(r'    \("([A-Z]+)", "(/v1[^"]*)"\): Access\((\w+)(.*)\),$', line)
        if not found:
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
    access = Source.of(ACCESS)
    for module in MODULES:
        source = Source.of(f"services/gateway/http/{module}.py")
        for method, path in re.findall(r'api\.route\(\s*"([A-Z]+)",\s*"([^"]+)"', source.text):
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
    shown = _shown()
    for module in MODULES:
        source = Source.of(f"services/gateway/http/{module}.py")
        for declared in walk(source.tree(), ast.ClassDef):
            bases = {getattr(each, "id", "") for each in declared.bases}
            if declared.name not in shown:
                continue
            for node in declared.body:
                if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                    continue
                name = f"{declared.name}.{node.target.id}"
                kind = source.segment(node.annotation)
                if "Input" in bases:
                    yield f"{name} renamed", source.with_node(node.target, f"{node.target.id}_v2")
                    if node.value is not None:
                        yield (
                            f"{name} needed",
                            source.with_node(node.value, "Field()")
                            if "Field" in source.text
                            else (_line(source, node, f"    {node.target.id}: {kind}")),
                        )
                elif "TypedDict" in bases:
                    yield f"{name} renamed", source.with_node(node.target, f"{node.target.id}_v2")
                    if not kind.startswith("NotRequired"):
                        other = "int" if kind.startswith("str") else "str"
                        yield f"{name} of type {other}", source.with_node(node.annotation, other)


def _shown() -> set[str]:
    """The models that the deployed document names."""
    path: Path = next((ROOT / "contracts/gateway").glob("*/openapi.json"))
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return set(document["components"]["schemas"])


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
