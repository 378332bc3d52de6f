"""HTTP: the OpenAPI document diffed as callers lean on it, and the running gateway asked whether it keeps to it (check 7)."""

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from breakwater.compat import openapi, plain_http
from breakwater.compat.candidate import Candidate
from breakwater.compat.emits import REQUEST_TIMEOUT_S, caller_headers
from breakwater.compat.openapi import Operation, resolved
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.compat.world import World

DIMENSION = "http"
CONSUMER = "callers"
ROLES = ("service", "sales", "manager", "oncall", "sre", "admin")
_CURE = "Keep the old beside the new until callers adapt, or publish it under another version."
_DEPTH_MAX = 6
_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_UNROUTED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_NOT_SERVED = _REFUSALS | _UNROUTED | {HTTPStatus.SERVICE_UNAVAILABLE}
_LIMITS = (("maxLength", -1), ("maxItems", -1), ("maximum", -1), ("minLength", 1), ("minItems", 1), ("minimum", 1))
"""Constraints on input and the direction in which they narrow."""


def documents(version: str, old: dict[str, Any], new: dict[str, Any]) -> CheckResult:
    """The candidate's document against a deployed release's."""
    before = {each.name: each for each in openapi.operations(old)}
    after = {each.name: each for each in openapi.operations(new)}
    found: list[Finding] = []
    if old.get("components", {}).get("securitySchemes") != new.get("components", {}).get("securitySchemes"):
        found.append(_finding("the document", "the security schemes changed"))
    for name, was in before.items():
        now = after.get(name)
        if now is None:
            found.append(_finding(name, "is gone"))
            continue
        found += [_finding(name, problem, verdict) for verdict, problem in _operation(old, was, new, now)]
    return CheckResult(f"OpenAPI, beside {version}", len(before), tuple(found))


def _finding(name: str, problem: str, verdict: Verdict = Verdict.BREAKING) -> Finding:
    cure = "Have security approve it, or ask for it again." if verdict is Verdict.LOOSENED else _CURE
    return Finding(verdict, DIMENSION, CONSUMER, f"{name} {problem}", cure)


def _operation(
    old: dict[str, Any], was: Operation, new: dict[str, Any], now: Operation
) -> Iterator[tuple[Verdict, str]]:
    yield from _access(was, now)
    problems = [*_parameters(old, was, new, now), *_body(old, was, new, now), *_answers(old, was, new, now)]
    yield from ((Verdict.BREAKING, problem) for problem in problems)


def _access(was: Operation, now: Operation) -> Iterator[tuple[Verdict, str]]:
    if was.guarded and not now.guarded:
        yield Verdict.LOOSENED, "asks for no credential any more"
    if not was.guarded and now.guarded:
        yield Verdict.BREAKING, "asks for a credential"
    roles_were, roles_are = set(was.spec.get("x-roles", [])), set(now.spec.get("x-roles", []))
    if roles_were - roles_are:
        yield Verdict.BREAKING, f"is closed to {', '.join(sorted(roles_were - roles_are))}"
    if roles_are - roles_were and now.guarded:
        yield Verdict.LOOSENED, f"is opened to {', '.join(sorted(roles_are - roles_were))}"


def _body(old: dict[str, Any], was: Operation, new: dict[str, Any], now: Operation) -> Iterator[str]:
    body_was, body_is = (each.spec.get("requestBody", {}) for each in (was, now))
    if body_is.get("required") and not body_was.get("required"):
        yield "needs a body"
    for kind, content in body_was.get("content", {}).items():
        if kind not in body_is.get("content", {}):
            yield f"takes no {kind} any more"
        else:
            yield from _input(old, content["schema"], new, body_is["content"][kind]["schema"], "body", 0)


def _answers(old: dict[str, Any], was: Operation, new: dict[str, Any], now: Operation) -> Iterator[str]:
    after = now.spec.get("responses", {})
    for status, answer in was.spec.get("responses", {}).items():
        if status not in after:
            yield f"does not answer {status} any more"
            continue
        shown = after[status].get("content", {})
        for kind, content in answer.get("content", {}).items():
            if kind not in shown:
                yield f"does not answer {status} as {kind} any more"
            elif "schema" in content:
                yield from _output(old, content["schema"], new, shown[kind].get("schema", {}), status, 0)


def _parameters(old: dict[str, Any], was: Operation, new: dict[str, Any], now: Operation) -> Iterator[str]:
    before = {(each["in"], each["name"]): each for each in was.spec.get("parameters", [])}
    after = {(each["in"], each["name"]): each for each in now.spec.get("parameters", [])}
    for key, parameter in before.items():
        if key not in after:
            yield f"does not know the {key[0]} parameter {key[1]} any more"
            continue
        if after[key].get("required") and not parameter.get("required"):
            yield f"needs the {key[0]} parameter {key[1]}"
        yield from _input(old, parameter.get("schema", {}), new, after[key].get("schema", {}), key[1], 0)
    for key, parameter in after.items():
        if key not in before and parameter.get("required"):
            yield f"needs the new {key[0]} parameter {key[1]}"


def _kinds(schema: dict[str, Any]) -> list[dict[str, Any]]:
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return list(schema[choice])
    return [schema]


def _input(old: Any, was: Any, new: Any, now: Any, path: str, depth: int) -> Iterator[str]:
    """Where a request that was good is good no more."""
    before, after = _by_type(old, was), _by_type(new, now)
    for kind, schema in before.items() if depth <= _DEPTH_MAX else ():
        if kind not in after:
            yield f"does not take {kind} for {path} any more"
            continue
        wanted = after[kind]
        yield from _narrowed(schema, wanted, path)
        for name, inner in schema.get("properties", {}).items():
            if name in wanted.get("properties", {}):
                yield from _input(old, inner, new, wanted["properties"][name], f"{path}.{name}", depth + 1)
            elif wanted.get("additionalProperties") is False:
                yield f"does not take {path}.{name} any more"
        if "items" in schema and "items" in wanted:
            yield from _input(old, schema["items"], new, wanted["items"], f"{path}[]", depth + 1)


def _narrowed(schema: dict[str, Any], wanted: dict[str, Any], path: str) -> Iterator[str]:
    needed = set(wanted.get("required", [])) - set(schema.get("required", []))
    yield from (f"needs {path}.{name}" for name in sorted(needed))
    values = _values(wanted)
    gone = set(_values(schema)) - set(values) if values else set()
    if gone or (values and not _values(schema)):
        yield f"does not take {', '.join(sorted(map(str, gone))) or 'every value'} for {path} any more"
    if wanted.get("pattern") not in {None, schema.get("pattern")}:
        yield f"takes only {wanted['pattern']} for {path}"
    for limit, direction in _LIMITS:
        limit_was, limit_is = schema.get(limit), wanted.get(limit)
        if limit_is is not None and (limit_was is None or (limit_is - limit_was) * direction > 0):
            yield f"has {limit} {limit_is} for {path}, not {limit_was}"


def _output(old: Any, was: Any, new: Any, now: Any, path: str, depth: int) -> Iterator[str]:
    """Where an answer is not what callers read."""
    before, after = _by_type(old, was), _by_type(new, now)
    yield from (f"may answer {kind} for {path}" for kind in sorted(after.keys() - before.keys()))
    yield from (
        f"does not answer {kind} for {path} any more" for kind in sorted(before.keys() - after.keys() - {"null"})
    )
    for kind, schema in before.items() if depth <= _DEPTH_MAX else ():
        if kind not in after:
            continue
        shown = after[kind]
        required = set(schema.get("required", []))
        yield from (f"may leave out {path}.{name}" for name in sorted(required - set(shown.get("required", []))))
        for name, inner in schema.get("properties", {}).items():
            if name in shown.get("properties", {}):
                yield from _output(old, inner, new, shown["properties"][name], f"{path}.{name}", depth + 1)
            elif name not in required:
                yield f"does not answer {path}.{name} any more"
        if "items" in schema and "items" in shown:
            yield from _output(old, schema["items"], new, shown["items"], f"{path}[]", depth + 1)


def _by_type(document: Any, schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The alternatives of a schema by what they are."""
    return {_type(document, each): resolved(document, each) for each in _kinds(resolved(document, schema))}


def _values(schema: dict[str, Any]) -> list[Any]:
    return list(schema.get("enum", [schema["const"]] if "const" in schema else []))


def _type(document: Any, schema: dict[str, Any]) -> str:
    schema = resolved(document, schema)
    kind = schema.get("type", "anything")
    form = schema.get("format")
    return f"{kind} ({form})" if form else str(kind)


async def kept_to(world: World, candidate: Candidate, old: dict[str, Any]) -> CheckResult:
    """The running gateway, asked as nobody, as a forger, and in each role, on every operation of a deployed document."""
    every = openapi.operations(old)
    questions = [(operation, who) for operation in every for who in ("", "?", *ROLES)]
    room = asyncio.Semaphore(8)

    async def ask(operation: Operation, who: str) -> int:
        headers: list[tuple[str, str]] = [("x-request-timeout", "2")]
        if who in ROLES:
            headers += caller_headers(world, role=who)
        elif who:
            headers.append(("authorization", "Bearer not.a.token"))
        if operation.media_type:
            # An empty body is refused after the credential, and costs nobody anything.
            headers.append(("content-type", operation.media_type))
        async with room:
            try:
                reply = await plain_http.request(
                    candidate.http, operation.method.upper(), operation.target, headers, timeout_s=REQUEST_TIMEOUT_S
                )
            except (OSError, TimeoutError):
                return 0
            return reply.status

    statuses = await asyncio.gather(*(ask(operation, who) for operation, who in questions))
    candidate.require_alive()
    found = []
    for (operation, who), status in zip(questions, statuses, strict=True):
        problem = _problem(operation, who, status)
        if problem is not None:
            found.append(_finding(operation.name, problem[1], problem[0]))
    return CheckResult(f"{candidate.process} asked in every role", len(questions), tuple(found))


def _problem(operation: Operation, who: str, status: int) -> tuple[Verdict, str] | None:
    if status == 0 or (status in _UNROUTED and "{" not in operation.path):
        return Verdict.BREAKING, f"answers {status}" if status else "does not answer in time"
    if not operation.guarded:
        return (Verdict.BREAKING, "refuses a caller without a token") if status in _REFUSALS else None
    if who in ROLES:
        return _role_problem(operation, who, status)
    if status == HTTPStatus.UNAUTHORIZED:
        return None
    said = "a forged token" if who else "a caller without a token"
    return (Verdict.BREAKING if status in _NOT_SERVED else Verdict.LOOSENED), f"answers {status} to {said}"


def _role_problem(operation: Operation, who: str, status: int) -> tuple[Verdict, str] | None:
    allowed = who in operation.spec.get("x-roles", [])
    if allowed and status in _REFUSALS:
        return Verdict.BREAKING, f"refuses the role {who} with {status}"
    if not allowed and status != HTTPStatus.FORBIDDEN:
        return (Verdict.BREAKING if status in _NOT_SERVED else Verdict.LOOSENED), f"answers {status} to the role {who}"
    return None
