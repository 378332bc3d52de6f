"""The auth dimension: credentials minted anew from recipes, sent to a running candidate over gRPC and HTTP.

What tells an accepted credential from a refused one needs no database: a message that cannot be parsed is answered
INVALID_ARGUMENT (422 over HTTP) only once the credential was accepted.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import grpc

from breakwater.compat import plain_http
from breakwater.compat.candidate import Candidate
from breakwater.compat.vectors import (
    ACCEPT,
    EMITTED,
    REJECT,
    Keys,
    Recipe,
    Vector,
    generate,
    metadata,
    must_reject,
    never_accepted,
)
from breakwater.compat.world import CALLERS, World
from breakwater.local.state import CALLER_ISSUER

CALL_TIMEOUT_S = 2.0
"""A verifier that takes longer hangs its callers, which is the outage this gate exists for."""
CALLER_OF = {"leads": "gateway", "notify": "gateway", "files": "gateway", "health": "gateway", "gateway": "ops"}
"""The consumer whose real credential the recipes are built around."""
SERVICES = tuple(CALLER_OF)
HTTP_CONSUMER = "callers"
"""Who sends tokens to the gateway: people and machines."""
HTTP_PROBE = "/v1/leads?unknown=1"
_UNPARSEABLE = b"\xff\xff\xff"
_AT_A_TIME = 8
LOOKS = 3
"""How often a surprising outcome is looked at: a machine that stood still for seconds must not become a verdict."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a candidate did with a recipe: accept, reject, or the name of a status that means neither."""

    recipe: Recipe
    outcome: str


def recipes_for(service: str) -> list[Recipe]:
    """Every recipe for a service: around its caller's service token, and for the gateway around a caller's token too."""
    consumer = CALLER_OF[service]
    claims = {
        "iss": consumer,
        "sub": consumer,
        "aud": service,
        "iat": {"now": 0},
        "exp": {"now": 300},
        "jti": "gate-vector",
    }
    header = {"alg": "Ed25519", "kid": "$current", "typ": "JWT"}
    recipes = generate(header, claims)
    if service == "gateway":
        caller = {"iss": CALLER_ISSUER, "sub": "gate", "aud": "breakwater", "role": "admin", "scope": "all"}
        times = {"iat": {"now": 0}, "exp": {"now": 3600}, "jti": "gate-vector"}
        recipes += generate(header, caller | times, transport="http")
    return recipes


def hand_kept(service: str) -> list[Vector]:
    """What is sent beside a release's vectors, and must be rejected."""
    reals = [recipe for recipe in recipes_for(service) if recipe.name == EMITTED]
    return [Vector(recipe, REJECT) for real in reals for recipe in never_accepted(real)]


async def label(world: World, candidate: Candidate, service: str, method: str) -> list[Vector]:
    """Every recipe with what the running candidate does; `method` is an RPC the consumer may call.

    Raises `RuntimeError` when it hangs, answers with another status, or accepts what must be rejected.
    """
    vectors = []
    for each in await play(world, candidate, service, method, recipes_for(service)):
        if each.outcome not in {ACCEPT, REJECT}:
            raise RuntimeError(f"{service} answers {each.outcome} to: {each.recipe.name}")
        if each.outcome == ACCEPT and must_reject(each.recipe):
            raise RuntimeError(f"{service} accepts what must be rejected: {each.recipe.name}")
        vectors.append(Vector(each.recipe, each.outcome))
    if not any(vector.label == ACCEPT for vector in vectors):
        raise RuntimeError(f"{service} accepts nothing, not even what its client emits")
    return vectors


async def replay(
    world: World, candidate: Candidate, service: str, method: str, vectors: Sequence[Vector]
) -> list[tuple[Outcome, str]]:
    """Each vector's outcome beside its label; one that differs was looked at again."""
    outcomes = await play(world, candidate, service, method, [vector.recipe for vector in vectors])
    for _ in range(LOOKS - 1):
        again = [
            index
            for index, (each, vector) in enumerate(zip(outcomes, vectors, strict=True))
            if each.outcome != vector.label
        ]
        if not again or len(again) > len(vectors) // 4:
            break
        looked = await play(world, candidate, service, method, [vectors[index].recipe for index in again])
        for index, outcome in zip(again, looked, strict=True):
            outcomes[index] = outcome
    return [(each, vector.label) for each, vector in zip(outcomes, vectors, strict=True)]


async def play(
    world: World, candidate: Candidate, service: str, method: str, recipes: Iterable[Recipe]
) -> list[Outcome]:
    """Each recipe in a call to the candidate. Raises `CandidateError` when it does not live through it."""
    keys = world.keys[CALLER_OF[service]]
    room = asyncio.Semaphore(_AT_A_TIME)
    async with grpc.aio.insecure_channel(candidate.grpc) as channel:

        async def one(recipe: Recipe) -> Outcome:
            async with room:
                if recipe.transport == "http":
                    return Outcome(recipe, await call_http(candidate.http, recipe, world.keys[CALLERS]))
                return Outcome(recipe, await call(channel, method, metadata(recipe, keys, time.time())))

        outcomes = await asyncio.gather(*(one(recipe) for recipe in recipes))
    candidate.require_alive()
    return outcomes


async def call(channel: Any, method: str, credential: tuple[tuple[str, str], ...]) -> str:
    """Whether a running candidate accepts a credential for an RPC, told by a message that cannot be parsed."""
    # Any RPC is a stream of bytes for a stream of bytes on the wire.
    send = channel.stream_stream(f"/{method}")
    try:
        async for _ in send(iter((_UNPARSEABLE,)), metadata=credential, timeout=CALL_TIMEOUT_S):
            pass
    except grpc.aio.AioRpcError as error:
        code = error.code()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return REJECT
        return ACCEPT if code is grpc.StatusCode.INVALID_ARGUMENT else str(code.name)
    return "OK"


async def call_http(url: str, recipe: Recipe, keys: Keys) -> str:
    """The same of a caller's token over HTTP, told by a query that is not understood."""
    headers = metadata(recipe, keys, time.time())
    try:
        reply = await plain_http.get(url, HTTP_PROBE, headers, timeout_s=CALL_TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        return type(error).__name__
    if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        # A credential sent twice is a 422 as well, and names another field.
        return ACCEPT if b'"unknown"' in reply.body else REJECT
    return REJECT if reply.status == HTTPStatus.UNAUTHORIZED else str(reply.status)
