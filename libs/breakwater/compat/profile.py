"""Which credentials a provider accepts, as a profile; and where a consumer's credential lies outside of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from breakwater.compat import replay
from breakwater.compat.candidate import Candidate
from breakwater.compat.emits import Emission
from breakwater.compat.vectors import ACCEPT, EMITTED, Vector
from breakwater.compat.world import World

_LIFETIMES_S = (60, 300, 900, 1800, 3600, 7200, 86_400)
_SIZES_BYTES = (1024, 2048, 4096, 6144, 7168, 8192, 12_288)
_REQUIRED = ("iss", "sub", "aud", "iat", "exp", "jti")


@dataclass(frozen=True, slots=True)
class Profile:
    """What one provider accepts from its consumer over gRPC, measured on the running provider."""

    reads: list[str]
    """Metadata keys."""
    schemes: list[str]
    alg: list[str]
    typ: list[str | None]
    """None stands for an absent one."""
    needs: list[str]
    """Header members and claims without which a credential is refused."""
    lifetime_s_max: int
    """The longest of those tried that was accepted."""
    size_bytes_max: int
    """The largest of those tried that was accepted."""

    def document(self) -> dict[str, Any]:
        """As YAML keeps it."""
        return asdict(self)


async def measure(world: World, candidate: Candidate, service: str, method: str, labelled: Sequence[Vector]) -> Profile:
    """The profile of a running provider, from its labels and from some more credentials."""
    accepted = [vector.recipe for vector in labelled if vector.label == ACCEPT and vector.recipe.transport == "grpc"]
    singles = [recipe for recipe in accepted if " + " not in recipe.name]
    real = next(vector.recipe for vector in labelled if vector.recipe.name == EMITTED)
    lived = [replace(real, name=str(s), claims=real.claims | {"exp": {"now": s}}) for s in _LIFETIMES_S]
    padded = [
        replace(real, name=str(s), claims=real.claims | {"padding": "x" * (s * 3 // 4 - 300)}) for s in _SIZES_BYTES
    ]
    outcomes = await replay.play(world, candidate, service, method, [*lived, *padded])
    passed = [int(each.recipe.name) for each in outcomes[: len(lived)] if each.outcome == ACCEPT]
    sizes = [int(each.recipe.name) for each in outcomes[len(lived) :] if each.outcome == ACCEPT]
    refused = {v.recipe.name for v in labelled if v.label != ACCEPT and v.recipe.transport == "grpc"}
    return Profile(
        reads=sorted({recipe.metadata_key for recipe in singles}),
        schemes=sorted({recipe.scheme for recipe in singles}),
        alg=sorted({str(recipe.header.get("alg")) for recipe in singles}),
        typ=sorted({recipe.header.get("typ") for recipe in singles}, key=str),
        needs=[name for name in ("kid", *_REQUIRED) if f"{name} missing" in refused],
        lifetime_s_max=max(passed, default=0),
        size_bytes_max=max(sizes, default=0),
    )


def outside(emission: Emission, profile: Profile) -> list[str]:
    """Where the emission lies outside of the profile, each as the end of a sentence about the provider."""
    found = []
    if emission.metadata_key not in profile.reads:
        found.append(f"reads {_listed(profile.reads)}")
    if emission.scheme not in profile.schemes:
        found.append(f"takes the scheme {_listed(profile.schemes)}")
    if emission.header.get("alg") not in profile.alg:
        found.append(f"takes alg {_listed(profile.alg)}")
    if emission.header.get("typ") not in profile.typ:
        found.append(f"takes typ {_listed(profile.typ)}")
    present = {**emission.header, **emission.claims}
    found += [f"needs {name}" for name in profile.needs if name not in present]
    if emission.lifetime_s > profile.lifetime_s_max or emission.lifetime_s <= 0:
        found.append(f"takes a lifetime of up to {profile.lifetime_s_max} s, not {emission.lifetime_s}")
    if emission.size_bytes > profile.size_bytes_max:
        found.append(f"takes up to {profile.size_bytes_max} bytes, not {emission.size_bytes}")
    found += [f"takes {name} as a text" for name in ("kid",) if emission.header.get(name, "text") != "text"]
    found += [f"takes {name} as a number" for name in ("iat", "exp") if emission.claims.get(name, "number") != "number"]
    if emission.claims.get("aud") != emission.provider:
        found.append(f"takes aud {emission.provider}, not {emission.claims.get('aud')}")
    if (emission.claims.get("iss"), emission.claims.get("sub")) != (emission.consumer, emission.consumer):
        found.append(f"takes iss and sub {emission.consumer}")
    extra = {"crit", "jwk", "jku", "x5u", "x5c", "b64"} & set(emission.header)
    found += [f"refuses {name} in the header" for name in sorted(extra)]
    return found


def sends(emission: Emission) -> str:
    """The emission in a few words: `authorization: Bearer Ed25519`."""
    if not emission.metadata_key:
        return "no credential"
    scheme = f"{emission.scheme} " if emission.scheme else ""
    return f"{emission.metadata_key}: {scheme}{emission.header.get('alg')}"


def _listed(values: Sequence[str | None]) -> str:
    return " or ".join("none" if value is None else value or "no scheme" for value in values) or "nothing known"
