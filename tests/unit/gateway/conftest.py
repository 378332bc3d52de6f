"""The gateway's HTTP surface with everything behind it faked: requests go through the real ASGI application."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from breakwater.chassis.auth import CallerVerifier, KeySource
from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.sealing import Seals
from breakwater.resilience.shedding import Limiter
from services.gateway.clients import Health, Leads, Notify
from services.gateway.exports.scratch import Scratch
from services.gateway.http import (
    boards,
    channels,
    customers,
    duplicates,
    exports,
    followups,
    forms,
    growth,
    imports,
    leads,
    merges,
    notifications,
    pages,
    people,
    platform,
    routing,
    sla,
    story,
    tagging,
    teams,
    wording,
    workorders,
)
from services.gateway.http.declare import Api
from services.gateway.http.edge import Edge, EdgeLimits
from services.gateway.http.imports import UploadLimits
from services.gateway.http.ratelimit import RateLimiter, RateLimits
from services.gateway.http.sessions import SessionGate, Sessions
from tests.support.tokens import Key, write_jwks
from tests.unit.gateway.fakes import FakeChannel, FakeExports

ISSUER = "https://issuer.test"
BODY_MAX = 4096
UPLOAD_MAX = 20_000
SESSION_S_MAX = 300


@dataclass
class Gateway:
    """An application and what stands behind it."""

    edge: Edge
    api: Api
    client: httpx2.AsyncClient
    leads: FakeChannel
    health: FakeChannel
    notify: FakeChannel
    exports: FakeExports
    clock: VirtualClock
    key: Key
    ready: bool = True
    started: float = field(default_factory=time.time)

    def token(self, role: str = "admin", sub: str = "1001", scope: str = "all", **claims: Any) -> str:
        header = {"alg": "Ed25519", "kid": self.key.kid, "typ": "JWT"} | claims.pop("header", {})
        now = self.clock.now().timestamp()
        body = {
            "iss": ISSUER,
            "aud": "breakwater",
            "sub": sub,
            "role": role,
            "scope": scope,
            "iat": now,
            "exp": now + 600,
        }
        return self.key.token(header, body | claims)

    def bearer(self, role: str = "admin", **claims: Any) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token(role, **claims)}"}

    async def ask(self, method: str, path: str, *, role: str = "admin", **options: Any) -> httpx2.Response:
        """A request with a caller's token. Every answer is checked against what OpenAPI promises."""
        headers = {**self.bearer(role), **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)


MakeGateway = Callable[..., Any]


@pytest.fixture
async def make_gateway(tmp_path: Path) -> AsyncIterator[MakeGateway]:
    """`gateway = await make_gateway(quota=2)`: an application with these limits."""
    clients: list[httpx2.AsyncClient] = []

    async def make(
        *, quota: int = 10_000, concurrency_max: int = 64, uploads_max: int = 2, send_timeout_s: float = 5.0
    ) -> Gateway:
        key = Key("callers")
        clock = VirtualClock()
        keys = KeySource(str(write_jwks(tmp_path / "callers.jwks.json", key)), production=False, clock=clock)
        await keys.start()
        behind = FakeChannel("leads"), FakeChannel("health"), FakeChannel("notify")
        behind_leads, behind_health, behind_notify = behind
        fake_exports = FakeExports(clock)
        gateway: Gateway
        api = Api()
        leads_service = Leads.over(behind_leads)
        leads.add_routes(api, leads_service)
        followups.add_routes(api, leads_service)
        tagging.add_routes(api, leads_service)
        story.add_routes(api, leads_service)
        people.add_routes(api, leads_service)
        teams.add_routes(api, leads_service)
        duplicates.add_routes(api, leads_service)
        boards.add_routes(api, leads_service)
        merges.add_routes(api, leads_service)
        verifier = CallerVerifier(keys, ISSUER, clock=clock)
        sessions = Sessions(verifier, Seals(secrets.token_bytes(32)), clock, session_s_max=SESSION_S_MAX)
        pages.add_routes(api, sessions)
        growth.add_routes(api, leads_service)
        forms.add_routes(api, leads_service)
        customers.add_routes(api, leads_service, Health.over(behind_health))
        for resource in (notifications, channels, wording, workorders):
            resource.add_routes(api, Notify.over(behind_notify))
        scratch = Scratch(tmp_path / "scratch", fake_exports.keep, 10**9)
        exports.add_routes(api, fake_exports.use_cases, scratch, fake_exports, clock, serving=lambda: gateway.ready)
        uploads = UploadLimits(size_bytes_max=UPLOAD_MAX, uploads_max=uploads_max, directory=tmp_path)
        imports.add_routes(api, leads_service, uploads)
        routing.add_routes(api, leads_service)
        sla.add_routes(api, leads_service)
        platform.add_routes(api, ready=lambda: gateway.ready, ops_url="http://ops.test:8090/")
        edge = Edge(
            api.routes,
            verifier=verifier,
            rate_limiter=RateLimiter(RateLimits(quota, 1, callers_max=100), clock),
            hmac_key=b"k" * 32,
            limiter=Limiter(ceiling=concurrency_max, floor=1, adaptive=False, clock=clock),
            limits=EdgeLimits(
                body_size_bytes_max=BODY_MAX,
                send_timeout_s=send_timeout_s,
                deadline_grace_s=0.0,
            ),
            clock=clock,
        )
        client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=SessionGate(edge, sessions.token), raise_app_exceptions=False),
            base_url="http://gateway.test",
        )
        clients.append(client)
        gateway = Gateway(edge, api, client, *behind, fake_exports, clock, key)
        return gateway

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def gateway(make_gateway: MakeGateway) -> Gateway:
    """One with generous limits."""
    return await make_gateway()
