"""A verifier of service tokens at a fixed moment, and the keys it knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from breakwater.chassis.auth import KeySource, ServiceVerifier
from breakwater.chassis.clock import VirtualClock
from tests.support.tokens import ABSENT, Key, write_jwks


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@dataclass
class Gate:
    """The verifier of `files`, its clock, and the keys of `gateway`: the present one and the next, published early."""

    verifier: ServiceVerifier
    clock: VirtualClock
    key: Key
    next_key: Key
    leads_key: Key

    @property
    def now(self) -> int:
        return int(self.clock.now().timestamp())

    def header(self, **changes: Any) -> dict[str, Any]:
        return {"alg": "Ed25519", "kid": self.key.kid, "typ": "JWT"} | changes

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": "gateway",
            "sub": "gateway",
            "aud": "files",
            "iat": self.now,
            "exp": self.now + 300,
            "nbf": ABSENT,
        }
        return claims | changes


@pytest.fixture
async def gate(tmp_path: Path, clock: VirtualClock) -> Gate:
    key, next_key, other = Key("gateway"), Key("gateway"), Key("leads")
    source = KeySource(str(write_jwks(tmp_path / "jwks.json", key, next_key, other)), production=False, clock=clock)
    await source.start()
    return Gate(ServiceVerifier(source, "files", clock=clock), clock, key, next_key, other)
