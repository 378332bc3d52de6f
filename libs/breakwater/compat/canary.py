"""After a deployment: the credentials a release was labelled with, sent to it where it runs now (contract-gate.md, check 9).

Over gRPC, with the platform's own key of the service's caller. Credentials of a previous key are left out: where it runs
there may be none.
"""

import asyncio
import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from breakwater.compat import interface, replay, vectors
from breakwater.compat.artifacts import Release
from breakwater.compat.messages import Messages
from breakwater.compat.vectors import Keys, Recipe
from breakwater.compat.verdict import CheckResult, Finding, Verdict

_AT_A_TIME = 4
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class _LiveKeys(Keys):
    current_kid: str = ""

    def kid(self, role: str) -> str:
        return self.current_kid if role == "current" else f"{self.owner}-{role}"


async def check(release: Release, address: str, caller_key: Mapping[str, str]) -> CheckResult:
    """Each vector of the release against `address` (host:port), signed with the caller's private JWK."""
    method = interface.probe_method(release.service, Messages.of(release.image))
    labelled = [each for each in vectors.load(release.vectors) if _can_be_sent(each.recipe)]
    private = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(caller_key["d"] + "=="))
    foreign, previous = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    keys = _LiveKeys(
        caller_key["owner"], {"current": private, "previous": previous, "foreign": foreign}, caller_key["kid"]
    )
    room = asyncio.Semaphore(_AT_A_TIME)
    async with grpc.aio.insecure_channel(address) as channel:

        async def missed(vector: vectors.Vector) -> str:
            async with room:
                outcome = await replay.call(channel, method, vectors.metadata(vector.recipe, keys, time.time()))
            return "" if outcome == vector.label else f"{vector.recipe.name}: {outcome}, not {vector.label}"

        found = [each for each in await asyncio.gather(*map(missed, labelled)) if each]
    name = f"canary of {release.service} {release.version}"
    if not found:
        return CheckResult(name, len(labelled))
    detail = f"does not what it did when it was released: {'; '.join(found[:_EXAMPLES])} ({len(found)} in all)"
    finding = Finding(Verdict.BREAKING, "canary", f"{release.service} {release.version}", detail)
    return CheckResult(name, len(labelled), (finding,))


def _can_be_sent(recipe: Recipe) -> bool:
    return recipe.transport == "grpc" and recipe.key != "previous" and recipe.header.get("kid") != "$previous"
