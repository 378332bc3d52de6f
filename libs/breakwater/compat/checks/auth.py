"""Credentials: what deployed consumers send must be accepted, what was rejected must stay so (checks 3 and 4)."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import grpc

from breakwater.compat import replay
from breakwater.compat.candidate import Candidate
from breakwater.compat.emits import Emission
from breakwater.compat.profile import Profile, outside, sends
from breakwater.compat.replay import CALLER_OF, HTTP_CONSUMER, Outcome
from breakwater.compat.vectors import ACCEPT, ELSEWHERE, EMITTED, REJECT, Vector, metadata, must_reject
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.compat.world import World

DIMENSION = "auth"
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Deployed:
    """A consumer's release and what it sends to the candidate."""

    consumer: str
    version: str
    emission: Emission


async def vectors_of(
    world: World,
    candidate: Candidate,
    service: str,
    version: str,
    method: str,
    vectors: Sequence[Vector],
    approved: Collection[str] = (),
) -> CheckResult:
    """The candidate against one deployed release's labels; `approved` are credentials it may accept from now on."""
    outcomes = await replay.replay(world, candidate, service, method, vectors)
    surprising = [(each, label) for each, label in outcomes if not _is_approved(each, approved)]
    return CheckResult(f"auth vectors of {version}", len(outcomes), tuple(_findings(service, version, surprising)))


async def never_accepted(world: World, candidate: Candidate, service: str, method: str) -> CheckResult:
    """What is in no release's vectors and must be rejected: a check of its own, so that a release without vectors shows."""
    outcomes = await replay.replay(world, candidate, service, method, replay.hand_kept(service))
    return CheckResult(
        "credentials never accepted", len(outcomes), tuple(_findings(service, "every release", outcomes))
    )


def _is_approved(each: Outcome, approved: Collection[str]) -> bool:
    parts = each.recipe.name.split(" + ")
    return each.outcome == ACCEPT and not must_reject(each.recipe) and any(part in approved for part in parts)


def _findings(service: str, version: str, outcomes: Iterable[tuple[Outcome, str]]) -> list[Finding]:
    """One finding for each way a label is missed: hundreds of vectors miss it for the same reason."""
    missed: dict[tuple[Verdict, str, str], list[str]] = {}
    for each, label in outcomes:
        consumer = HTTP_CONSUMER if each.recipe.transport == "http" else CALLER_OF[service]
        verdict = _verdict(each, label)
        if verdict is not Verdict.SAFE:
            missed.setdefault((verdict, consumer, each.outcome), []).append(each.recipe.name)
    found = []
    for (verdict, consumer, outcome), names in missed.items():
        shown = ", ".join(names[:_EXAMPLES]) + (f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else "")
        if verdict is Verdict.LOOSENED:
            detail = f"{service} accepts what {version} rejects: {shown}"
            cure = "Have security approve it, or reject it again."
        elif outcome == REJECT:
            detail = f"{service} rejects what {version} accepts: {shown}"
            cure = f"Accept both until {consumer} adapts, or stay on {version}."
        else:
            detail = f"{service} answers {outcome} where {version} accepts or rejects: {shown}"
            cure = "Answer UNAUTHENTICATED at once."
        found.append(Finding(verdict, DIMENSION, consumer, detail, cure, public=consumer == HTTP_CONSUMER))
    return found


def _verdict(each: Outcome, label: str) -> Verdict:
    if each.outcome not in {ACCEPT, REJECT}:
        return Verdict.BREAKING
    if each.outcome == ACCEPT and (label == REJECT or must_reject(each.recipe)):
        return Verdict.LOOSENED
    if each.outcome == REJECT and label == ACCEPT:
        return Verdict.BREAKING if each.recipe.name == EMITTED else Verdict.NARROWED
    return Verdict.SAFE


async def emissions_of(
    world: World, candidate: Candidate, service: str, version: str, deployed: Sequence[Deployed]
) -> CheckResult:
    """What each deployed consumer really sends, on each RPC it calls, to the running candidate."""
    examined, found = 0, []
    async with grpc.aio.insecure_channel(candidate.grpc) as channel:
        for consumer in deployed:
            emission = consumer.emission
            keys = world.keys[emission.consumer]
            methods = sorted(emission.rpcs)
            outcomes = await asyncio.gather(
                *(replay.call(channel, method, metadata(emission.recipe(), keys, time.time())) for method in methods)
            )
            examined += len(methods)
            refused = {method: outcome for method, outcome in zip(methods, outcomes, strict=True) if outcome != ACCEPT}
            if refused:
                read = await _reads(world, channel, emission, methods[0]) if len(refused) == len(methods) else ""
                found.append(_refusal(service, version, consumer, refused, read))
    candidate.require_alive()
    return CheckResult("consumers' credentials", examined, tuple(found))


async def _reads(world: World, channel: grpc.aio.Channel, emission: Emission, method: str) -> str:
    """Where the candidate reads its token instead; empty when it was not found."""
    keys = world.keys[emission.consumer]
    for key in ELSEWHERE:
        for scheme in ("", emission.scheme):
            recipe = replace(emission.recipe(), metadata_key=key, scheme=scheme)
            if await replay.call(channel, method, metadata(recipe, keys, time.time())) == ACCEPT:
                return key
    return ""


def _refusal(service: str, version: str, deployed: Deployed, refused: dict[str, str], read: str) -> Finding:
    subject = f"{deployed.consumer} {deployed.version}"
    outcome, count = Counter(refused.values()).most_common(1)[0]
    first = next(method for method, each in sorted(refused.items()) if each == outcome)
    cure = f"Accept both until {deployed.consumer} adapts, or stay on {version}."
    sent = sends(deployed.emission)
    if read:
        return Finding(Verdict.BREAKING, DIMENSION, subject, f"sends {sent}; {service} reads {read}", cure)
    if outcome == grpc.StatusCode.UNIMPLEMENTED.name:
        cure = f"Keep it until {deployed.consumer} adapts, or stay on {version}."
        return Finding(Verdict.BREAKING, "proto", subject, f"calls {first}; {service} does not serve it", cure)
    said = {REJECT: "rejects it", grpc.StatusCode.PERMISSION_DENIED.name: "does not let it call"}.get(
        outcome, f"answers {outcome}"
    )
    where = first if count < len(deployed.emission.rpcs) else "every RPC"
    return Finding(Verdict.BREAKING, DIMENSION, subject, f"sends {sent}; {service} {said} ({where})", cure)


def inside_profiles(emitted: Sequence[Emission], providers: Sequence[tuple[str, str, Profile]]) -> CheckResult:
    """What the candidate sends must lie inside of what each deployed provider accepts: (name, version, profile)."""
    examined, found = 0, []
    for name, version, profile in providers:
        for emission in emitted:
            if emission.provider != name:
                continue
            examined += 1
            for where in outside(emission, profile):
                detail = f"{emission.consumer} sends {sends(emission)}; {name} {version} {where}"
                cure = f"Send what {name} {version} takes until it adapts."
                found.append(Finding(Verdict.BREAKING, DIMENSION, f"{name} {version}", detail, cure))
    return CheckResult("own credentials at providers", examined, tuple(found))
