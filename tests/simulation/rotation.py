"""Seeded rotations of a signing key: when it is published, signs and is withdrawn, against the chassis's own code.

gateway signs; two verifiers with clocks of their own look at the key set in their own time, and the set may be out of
reach for a while. A valid token that is refused is counted. `python -m tests.simulation.rotation SEED` replays one.
"""

import asyncio
import random
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Final

from breakwater.chassis.auth import (
    KeySource,
    OverlapRule,
    Rotation,
    ServiceSigner,
    ServiceVerifier,
    TokenRefusedError,
    preparse,
)
from tests.support.tokens import Key, write_jwks

RULE: Final = OverlapRule(cache_s=60.0, token_s=300.0, skew_s=5.0)
REFRESH_S: Final = 29.0
"""A look takes no time here; with a phase it is within half a cache life all the same."""
START_S: Final = 400.0
USE_EVERY_S: Final = 20.0
KNOWN_S: Final = (-30.0, 0.0, 10.0, 59.0, 60.0, 61.0, 150.0)
KEPT_S: Final = (-20.0, 0.0, 60.0, 200.0, 304.0, 305.0, 306.0, 420.0)
OUT_S_MAX: Final = RULE.cache_s - REFRESH_S
JUST_S: Final = 0.05
"""Before, or after: nearer than any of the above are apart."""
OFF_S: Final = 2.4
"""How far clocks are off, each way: two of them are nearly as far apart as they may be."""
KEYS: Final = (Key("gateway"), Key("gateway"))


class Clock:
    """Stands where it is put; a party's own may be some seconds off."""

    def __init__(self, base: "Clock | None" = None, off_s: float = 0.0) -> None:
        self.at_s = 0.0
        self._base = base or self
        self._off_s = off_s

    def now(self) -> datetime:
        return datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=self._base.at_s + self._off_s)

    def monotonic(self) -> float:
        return self._base.at_s

    async def sleep(self, duration_s: float, /) -> None:
        raise AssertionError("nobody sleeps here")


@dataclass(slots=True)
class Outcome:
    """What came of one rotation."""

    rotation: Rotation
    problems: tuple[str, ...]
    used: int = 0
    refused: list[str] = field(default_factory=list)
    """Each valid token that a verifier refused."""


@dataclass(slots=True)
class _Moment:
    at_s: float
    act: str
    who: int = 0


class Parties:
    """The files, the signer and the verifiers of one schedule."""

    def __init__(self, folder: Path, *, guarded: bool) -> None:
        self.clock = Clock()
        self._jwks, self._key_file = folder / "jwks.json", folder / "key.jwk"
        self._published = KEYS[:1]
        self._reachable = True
        self._rule = RULE if guarded else None
        self._guarded = guarded
        self._show()
        KEYS[0].write(self._key_file)
        self.tokens: dict[str, float] = {}
        """What was signed, with its end as its owner's clock tells it, in seconds since 1970."""

    async def start(self) -> None:
        self.sources = [self._source() for _ in range(3)]
        for source in self.sources:
            await source.start()
        self.clocks = [Clock(self.clock, off_s) for off_s in (OFF_S, -OFF_S)]
        self.verifiers = [
            ServiceVerifier(source, "files", clock=clock)
            for source, clock in zip(self.sources[1:], self.clocks, strict=True)
        ]
        published = self.sources[0] if self._guarded else None
        self.signer = ServiceSigner(
            self._key_file, "gateway", production=False, published=published, clock=self.clocks[0]
        )

    async def act(self, moment: _Moment, outcome: Outcome) -> None:
        self.clock.at_s = moment.at_s
        if moment.act == "publish":
            self._published = KEYS
            self._show()
        elif moment.act == "sign with the next":
            KEYS[1].write(self._key_file)
        elif moment.act == "withdraw":
            self._published = KEYS[1:]
            self._show()
        elif moment.act == "out":
            self._reachable = False
            self._show()
        elif moment.act == "back":
            self._reachable = True
            self._show()
        elif moment.act == "look":
            await self.sources[moment.who]._look_again()
        else:
            if moment.act == "use anew":
                # As of a process that calls for the first time.
                self.signer._tokens.clear()
            await self.use(outcome)

    async def use(self, outcome: Outcome) -> None:
        """The signer's token, and the older ones, at every verifier by whose clock they have not ended."""
        fresh = self.signer.token_for("files")
        self.tokens[fresh] = float(preparse.parse(fresh).payload["exp"])
        for token, ends_s in self.tokens.items():
            for verifier, clock in zip(self.verifiers, self.clocks, strict=True):
                if clock.now().timestamp() >= ends_s:
                    continue
                outcome.used += 1
                try:
                    await verifier.verify(token)
                except TokenRefusedError as error:
                    kid = preparse.parse(token).kid
                    name = "old" if kid == KEYS[0].kid else "new"
                    outcome.refused.append(f"token of the {name} key at {self.clock.at_s:.1f} s: {error.reason}")

    def _source(self) -> KeySource:
        return KeySource(str(self._jwks), production=False, clock=self.clock, rule=self._rule)

    def _show(self) -> None:
        if self._reachable:
            write_jwks(self._jwks, *self._published)
        else:
            self._jwks.unlink(missing_ok=True)


def drawn(seed: int) -> Rotation:
    """A rotation around the limits of the rule: some keep it, most do not."""
    return random.Random(seed).choice(at_the_limits())


def at_the_limits() -> list[Rotation]:
    """Each combination of the times that a rotation is drawn from."""
    rotations = []
    for known_s, kept_s in product(KNOWN_S, KEPT_S):
        signs_s = START_S + known_s
        rotations.append(Rotation(START_S, signs_s, max(START_S, signs_s) + kept_s))
    return rotations


def by_chance(seed: int, rotation: Rotation) -> list[_Moment]:
    """Everybody looks every `REFRESH_S` in a phase of their own; the set is out of reach once, for a while."""
    rng = random.Random(seed)
    ends_s = max(rotation.withdrawn_s, rotation.signs_s, rotation.published_s) + RULE.kept_s
    out_s = rng.uniform(0, ends_s)
    moments = _steps(rotation)
    moments += [_Moment(out_s, "out"), _Moment(out_s + rng.uniform(0, OUT_S_MAX), "back")]
    for who in range(3):
        at_s = rng.uniform(0, REFRESH_S)
        while at_s < ends_s:
            moments.append(_Moment(at_s, "look", who))
            at_s += REFRESH_S
    at_s = 0.0
    while at_s < ends_s:
        moments.append(_Moment(at_s, "use"))
        at_s += rng.uniform(0, 2 * USE_EVERY_S)
    return sorted(moments, key=lambda moment: moment.at_s)


def at_worst(rotation: Rotation) -> list[_Moment]:
    """Verifiers looked just before the new key came and look again a cache life later; tokens are used to their end."""
    known_s = rotation.published_s + RULE.cache_s
    moments = _steps(rotation)
    moments += [_Moment(rotation.published_s - JUST_S / 2, "out"), _Moment(known_s - JUST_S / 2, "back")]
    for who in range(3):
        moments += [_Moment(at_s, "look", who) for at_s in (known_s - JUST_S / 4, rotation.withdrawn_s + JUST_S / 8)]
    moments += [_Moment(rotation.signs_s + each, "use anew") for each in (-JUST_S, JUST_S / 2)]
    moments += [_Moment(rotation.signs_s + RULE.token_s + 2 * OFF_S - 0.5, "use")]
    return sorted(moments, key=lambda moment: moment.at_s)


def _steps(rotation: Rotation) -> list[_Moment]:
    return [
        _Moment(rotation.published_s, "publish"),
        _Moment(rotation.signs_s, "sign with the next"),
        _Moment(rotation.withdrawn_s, "withdraw"),
    ]


async def run(rotation: Rotation, moments: list[_Moment], *, guarded: bool) -> Outcome:
    """One schedule; `guarded` holds the parties to the rule, as the platform's are."""
    outcome = Outcome(rotation, RULE.problems(rotation))
    with tempfile.TemporaryDirectory(prefix="rotation-") as folder:
        parties = Parties(Path(folder), guarded=guarded)
        await parties.start()
        for moment in moments:
            await parties.act(moment, outcome)
    return outcome


def main() -> None:
    seed = int(sys.argv[1])
    rotation = drawn(seed)
    for guarded in (False, True):
        outcome = asyncio.run(run(rotation, by_chance(seed, rotation), guarded=guarded))
        print("guarded" if guarded else "unguarded", outcome)


if __name__ == "__main__":
    main()
