"""The auth dimension: recorded labels of each deployed release, replayed against the candidate's verifier behind real gRPC."""

import asyncio
import base64
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from breakwater.chassis import logging
from breakwater.chassis.auth import KeySource, ServiceSigner, ServiceVerifier
from breakwater.chassis.grpc_server import Server
from breakwater.chassis.settings import Environment, ServiceSettings
from breakwater.compat.vectors import ACCEPT, REJECT, Keys, Recipe, Vector, generate, metadata, must_reject
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.edges.v1 import edges_pb2
from breakwater.edges.v1.edges_pb2_grpc import (
    EdgeServiceServicer,
    EdgeServiceStub,
    add_EdgeServiceServicer_to_server,
)

CALL_TIMEOUT_S = 2.0
"""A verifier that takes longer hangs its callers, which is the outage this gate exists for."""
CALLERS = {"leads": "gateway", "notify": "gateway", "files": "gateway", "health": "gateway", "gateway": "ops"}
"""The consumer whose real credential the recipes are built around."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verifier did with a recipe: accept, reject, or the name of a status that means neither."""

    recipe: Recipe
    outcome: str


class _Answering(EdgeServiceServicer):
    async def ListEdges(self, request: edges_pb2.ListEdgesRequest, context: Any) -> edges_pb2.ListEdgesResponse:  # noqa: N802
        del request, context
        return edges_pb2.ListEdgesResponse()

    async def ApplyOverride(  # noqa: N802
        self, request: edges_pb2.ApplyOverrideRequest, context: Any
    ) -> edges_pb2.ApplyOverrideResponse:
        del request, context
        return edges_pb2.ApplyOverrideResponse()


def emitted(service: str) -> list[Recipe]:
    """The recipes around the credential that the real client of `service` emits today."""
    with tempfile.TemporaryDirectory() as folder:
        token = _signer(Path(folder), CALLERS[service], Keys()).token_for(service)
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "===")) for part in token.split(".")[:2])
    now = claims["iat"]
    relative = {name: {"now": claims[name] - now} for name in ("iat", "exp", "nbf") if name in claims}
    return generate(header | {"kid": "$current"}, claims | relative)


def label(service: str) -> list[Vector]:
    """Every recipe with what the present verifier does; what must be rejected is labelled so whatever it does.

    Raises `RuntimeError` when the verifier hangs, answers with another status, or accepts what must be rejected.
    """
    vectors = []
    for each in asyncio.run(_play(service, emitted(service))):
        if each.outcome not in {ACCEPT, REJECT}:
            raise RuntimeError(f"{service} answers {each.outcome} to: {each.recipe.name}")
        if each.outcome == ACCEPT and must_reject(each.recipe):
            raise RuntimeError(f"{service} accepts what must be rejected: {each.recipe.name}")
        vectors.append(Vector(each.recipe, each.outcome))
    if not any(vector.label == ACCEPT for vector in vectors):
        raise RuntimeError(f"{service} accepts nothing, not even what its client emits")
    return vectors


def check(service: str, version: str, vectors: Sequence[Vector]) -> CheckResult:
    """The candidate against one deployed release's labels."""
    outcomes = asyncio.run(_play(service, [vector.recipe for vector in vectors]))
    findings = [
        finding
        for each, vector in zip(outcomes, vectors, strict=True)
        if (finding := _judge(service, version, each, vector.label)) is not None
    ]
    return CheckResult(f"auth vectors of {version}", len(outcomes), tuple(findings))


def _judge(service: str, version: str, each: Outcome, expected: str) -> Finding | None:
    consumer, name = CALLERS[service], each.recipe.name
    if each.outcome not in {ACCEPT, REJECT}:
        detail = f"answers {each.outcome} where {version} does {expected}: {name}"
        return Finding(Verdict.BREAKING, "auth status", consumer, detail, "Answer UNAUTHENTICATED at once.")
    if each.outcome == ACCEPT and (expected == REJECT or must_reject(each.recipe)):
        detail = f"{service} accepts what {version} rejects: {name}"
        return Finding(Verdict.LOOSENED, "auth", consumer, detail, "Have security approve it, or reject it again.")
    if each.outcome == REJECT and expected == ACCEPT:
        known = name == "emitted"
        detail = f"{service} rejects what {version} accepts: {name}"
        cure = f"Accept both until {consumer} adapts, or stay on {version}."
        return Finding(Verdict.BREAKING if known else Verdict.NARROWED, "auth", consumer, detail, cure)
    return None


async def _play(service: str, recipes: Sequence[Recipe]) -> list[Outcome]:
    """Each recipe in a call to a real server of the chassis, with keys made for this run."""
    with tempfile.TemporaryDirectory() as folder:
        # Hundreds of refusals are what is wanted here; each would be a warning.
        logging.configure("gate", "error")
        keys = Keys()
        jwks = Path(folder) / "jwks.json"
        owner = CALLERS[service]
        jwks.write_text(json.dumps({"keys": [keys.jwk(role) | {"owner": owner} for role in ("current", "previous")]}))
        source = KeySource(str(jwks), production=False)
        await source.start()
        settings = ServiceSettings(environment=Environment.PRODUCTION)
        server = Server(service, settings, ServiceVerifier(source, service))
        server.add(add_EdgeServiceServicer_to_server, _Answering(), callers={owner})
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"{settings.host}:{server.port}") as channel:
                stub = EdgeServiceStub(channel)
                return [Outcome(recipe, await _call(stub, recipe, keys)) for recipe in recipes]
        finally:
            await server.drain(0)


async def _call(stub: Any, recipe: Recipe, keys: Keys) -> str:
    credential = metadata(recipe, keys, time.time())
    try:
        await stub.ListEdges(edges_pb2.ListEdgesRequest(), metadata=credential, timeout=CALL_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return REJECT if error.code() is grpc.StatusCode.UNAUTHENTICATED else str(error.code().name)
    return ACCEPT


def _signer(folder: Path, service: str, keys: Keys) -> ServiceSigner:
    file = folder / "service.jwk"
    file.touch(mode=0o600)
    file.write_text(json.dumps(keys.jwk("current", private=True) | {"owner": service}))
    return ServiceSigner(file, service, production=False)
