"""After a deployment: the credentials a release was labelled with, sent to it where it runs now (contract-gate.md, check 9).

Over gRPC with the platform's own key of the service's caller, and over HTTP, where the service has it, with that of the
callers' issuer. Credentials of a previous key are left out: where it runs there may be none.
"""

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from breakwater.compat import interface, replay, vectors
from breakwater.compat.artifacts import Release
from breakwater.compat.messages import Messages
from breakwater.compat.vectors import Keys, Recipe, Vector
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.local.deployments import Reached

_AT_A_TIME = 4
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class _LiveKeys(Keys):
    current_kid: str = ""

    def kid(self, role: str) -> str:
        return self.current_kid if role == "current" else f"{self.owner}-{role}"


async def check(release: Release, reached: Reached) -> CheckResult:
    """Each vector of the release where it runs; an outcome that differs is looked at again before it counts."""
    labelled = [each for each in vectors.load(release.vectors) if _can_be_sent(each.recipe, reached)]
    wrong: Sequence[tuple[Vector, str]] = [(vector, "") for vector in labelled]
    for _ in range(replay.LOOKS):
        outcomes = await _play(release, reached, [vector for vector, _ in wrong])
        wrong = [
            (vector, outcome) for (vector, _), outcome in zip(wrong, outcomes, strict=True) if outcome != vector.label
        ]
        if not wrong or len(wrong) > len(labelled) // 4:
            break
    name = f"canary of {release.service} {release.version}"
    if not wrong:
        return CheckResult(name, len(labelled))
    told = "; ".join(f"{vector.recipe.name}: {outcome}, not {vector.label}" for vector, outcome in wrong[:_EXAMPLES])
    detail = f"does not what it did when it was released: {told} ({len(wrong)} in all)"
    finding = Finding(Verdict.BREAKING, "canary", f"{release.service} {release.version}", detail)
    return CheckResult(name, len(labelled), (finding,))


async def _play(release: Release, reached: Reached, tried: Sequence[Vector]) -> list[str]:
    method = interface.probe_method(release.service, Messages.of(release.image))
    keys = _keys(reached.caller_key)
    http_keys = _keys(reached.http_key) if reached.http else keys
    room = asyncio.Semaphore(_AT_A_TIME)
    async with grpc.aio.insecure_channel(reached.grpc) as channel:

        async def outcome(recipe: Recipe) -> str:
            async with room:
                if recipe.transport == "http":
                    return await replay.call_http(reached.http, recipe, http_keys)
                return await replay.call(channel, method, vectors.metadata(recipe, keys, time.time()))

        return await asyncio.gather(*(outcome(vector.recipe) for vector in tried))


def _keys(jwk: Mapping[str, str]) -> Keys:
    private = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(jwk["d"] + "=="))
    others = {role: Ed25519PrivateKey.generate() for role in ("previous", "foreign")}
    return _LiveKeys(jwk["owner"], {"current": private, **others}, jwk["kid"])


def _can_be_sent(recipe: Recipe, reached: Reached) -> bool:
    known = recipe.key != "previous" and recipe.header.get("kid") != "$previous"
    return known and (recipe.transport == "grpc" or bool(reached.http))
