"""Composes one process: whatever a service stands on, wired to be safe by default, started and drained in order."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from breakwater.chassis import bus, database, logging, metrics
from breakwater.chassis.auth import KeySource, OverlapRule, ServiceSigner, ServiceVerifier
from breakwater.chassis.auth.sign import TTL_S
from breakwater.chassis.auth.verify import LEEWAY_S
from breakwater.chassis.bus import Bus
from breakwater.chassis.channels import Channel
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.database import Database, PoolLimits
from breakwater.chassis.edges import EdgeReporter, EdgeService
from breakwater.chassis.egress import Egress
from breakwater.chassis.grpc_server import AddToServer, Server, Servicer
from breakwater.chassis.http_client import HttpClient, HttpLimits, Judge
from breakwater.chassis.lifecycle import StopSignal
from breakwater.chassis.mail import MailClient, MailLimits, MailServer
from breakwater.chassis.overrides import Overrides
from breakwater.chassis.policies import PolicyFile
from breakwater.chassis.probes import Probes
from breakwater.chassis.settings import Environment, MisconfiguredError, ServiceSettings, read_secret
from breakwater.chassis.telemetry import Telemetry
from breakwater.edges.v1.edges_pb2 import EdgeReport
from breakwater.edges.v1.edges_pb2_grpc import add_EdgeServiceServicer_to_server
from breakwater.resilience import Outcome, Policy
from breakwater.resilience.shedding import Priority, current_priority

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)
T = TypeVar("T")
Classify = Callable[[BaseException], Outcome]

SERVICE_KEYS_RULE = OverlapRule(cache_s=60.0, token_s=TTL_S, skew_s=LEEWAY_S)
"""How service keys rotate; a verifier looks twice in its cache life, so that one look may fail."""
OPS = "ops"
"""The process that may read and override every other's edges."""
RESTART_S = 0.5
RESTART_S_MAX = 10.0
BACKGROUND_DRAIN_S = 5.0


class Front(Protocol):
    """Something that takes requests: the gRPC server, an HTTP server."""

    async def start(self) -> None:
        """Binds and serves."""
        ...

    async def drain(self, grace_s: float) -> None:
        """Takes nothing new, lets what is in flight end for at most `grace_s` seconds, and stops."""
        ...


class Service(Generic[SettingsT]):
    """One process. `async with Service("files", settings, policies=...) as service:` ... `await service.run()`.

    Entering raises `MisconfiguredError` or `InvalidPolicyError` when the process must not start. Leaving drains:
    first the fronts, then background work, then what was opened, last opened first.
    """

    def __init__(
        self,
        name: str,
        settings: SettingsT,
        *,
        policies: Path | None = None,
        classifiers: Mapping[str, Classify] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`policies` is the file that names every dependency this process calls.

        `classifiers` tell, for dependencies of the service's own such as a chat robot, what an error says about them.
        """
        self.name = name
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.instance = f"{socket.gethostname()}-{os.getpid()}"
        self.stop = StopSignal()
        self._policies_file = policies
        self._classifiers = {"postgres": database.classify, "nats": bus.classify, **(classifiers or {})}
        self._production = settings.environment is Environment.PRODUCTION
        self._stack = AsyncExitStack()
        self._fronts: list[Front] = []
        self._tasks: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._serving = False
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _open(self) -> None:
        settings, name = self.settings, self.name
        if name == OPS:
            # Whatever this process does by itself is for on-call; every other's background work is batch.
            current_priority.set(Priority.OPS)
        logging.configure(name, settings.log_level, instance=self.instance)
        self._policy_file = PolicyFile(
            name,
            settings.policies_file or self._policies_file,
            clock=self.clock,
            classifiers=self._classifiers,
            # The mail server has an edge where one is set.
            configured=[*settings.http_bases, *(["smtp"] if settings.smtp_server else [])],
        )
        self.policies = self._policy_file.registry
        self.background("policies", self._policy_file.watch)
        keys = await self._service_keys()
        self.signer = self._signer(keys)
        telemetry = Telemetry.start(
            name,
            otlp_endpoint=settings.otlp_endpoint,
            sample_ratio=settings.trace_sample_ratio,
            environment=settings.environment.value,
            instance=self.instance,
        )
        # In a thread: a dead collector takes seconds, in which the loop must go on.
        self._stack.push_async_callback(asyncio.to_thread, telemetry.shutdown)
        metrics.EDGES.watch(self.policies)
        self._stack.callback(metrics.EDGES.unwatch, self.policies)
        self.overrides = Overrides(
            self.policies,
            self.clock,
            chaos_allowed=settings.chaos_allowed,
            # What lays and lifts overrides must stay reachable by itself.
            own_only=name == OPS,
        )
        self._reporter = EdgeReporter(name, self.instance, self.policies, self.overrides, self.clock)
        self.background("overrides", self._reporter.settle_overrides)
        self.probes = Probes(settings.host, settings.metrics_port, ready=lambda: self._serving)
        await self.probes.start()
        self._stack.push_async_callback(self.probes.close)
        if keys is not None:
            self._serve_grpc(keys)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    def policy(self, dependency: str) -> Policy:
        """The policy of the edge to `dependency`. Raises `MisconfiguredError` where policies.yaml does not name it."""
        try:
            return self.policies[dependency]
        except KeyError as error:
            raise MisconfiguredError(f"{self._policies_file} names no edge to {dependency!r}") from error

    def channel(self, dependency: str) -> Channel:
        """A guarded channel to another service, closed in the drain.

        Raises `MisconfiguredError` where PEERS lacks it.
        """
        return self._channel(dependency, self._addresses(dependency), self.policy(dependency))

    def channels(self, dependency: str) -> tuple[Channel, ...]:
        """A channel to each replica of another service, for what every one of them has to be told or asked.

        Several have a policy each, with the settings of the edge: one that is out must not close the way to the others.
        """
        addresses, policy = self._addresses(dependency), self.policy(dependency)
        if len(addresses) == 1:
            return (self._channel(dependency, addresses, policy),)
        return tuple(
            self._channel(dependency, (address,), Policy(policy.settings, clock=self.clock)) for address in addresses
        )

    def _addresses(self, dependency: str) -> tuple[str, ...]:
        if dependency not in self.settings.peers:
            raise MisconfiguredError(f"BREAKWATER_PEERS names no {dependency!r}")
        return self.settings.peers[dependency]

    def _channel(self, dependency: str, addresses: tuple[str, ...], policy: Policy) -> Channel:
        channel = Channel(
            dependency,
            addresses,
            policy,
            self.signer,
            message_size_bytes_max=self.settings.grpc_message_size_bytes_max,
        )
        self._stack.push_async_callback(channel.close)
        return channel

    def http(self, dependency: str, *, judge: Judge | None = None) -> HttpClient:
        """A guarded client of the dependency at HTTP_BASES, closed in the drain.

        `judge` reads answers whose status does not say everything. Raises `MisconfiguredError` where HTTP_BASES lacks it,
        and in production for a base without TLS.
        """
        settings = self.settings
        base = settings.http_bases.get(dependency)
        if base is None:
            raise MisconfiguredError(f"BREAKWATER_HTTP_BASES names no {dependency!r}")
        if self._production and not base.startswith("https:"):
            raise MisconfiguredError(f"BREAKWATER_HTTP_BASES: {dependency} needs https in production")
        limits = HttpLimits(settings.http_answer_size_bytes_max, settings.http_request_size_bytes_max)
        try:
            client = HttpClient(
                dependency,
                base,
                self.policy(dependency),
                egress=Egress(settings.egress_private),
                judge=judge,
                limits=limits,
                user_agent=f"breakwater-{self.name}",
                clock=self.clock,
            )
        except ValueError as error:
            raise MisconfiguredError(str(error)) from error
        self.on_close(client.close)
        return client

    def smtp(self, dependency: str = "smtp") -> MailClient:
        """A guarded client of the mail server at SMTP_SERVER.

        Raises `MisconfiguredError` where it is missing, or a login would go in the clear.
        """
        settings = self.settings
        if settings.smtp_server is None:
            raise MisconfiguredError("BREAKWATER_SMTP_SERVER is missing")
        host, _, port = settings.smtp_server.rpartition(":")
        try:
            server = MailServer(
                host.strip("[]"),
                int(port),
                tls=settings.smtp_tls,
                user=settings.smtp_user,
                password=_secret(settings.smtp_password_file),
            )
            limits = MailLimits(settings.mail_size_bytes_max, settings.mail_recipients_max)
            egress = Egress(settings.egress_private)
            return MailClient(dependency, server, self.policy(dependency), egress=egress, limits=limits)
        except ValueError as error:
            raise MisconfiguredError(str(error)) from error

    def add_rpc(
        self,
        add_to_server: AddToServer[Servicer],
        servicer: Servicer,
        *,
        callers: Collection[str],
        callers_of: Mapping[str, Collection[str]] | None = None,
        together: Mapping[str, int] | None = None,
        priority: Priority | None = None,
    ) -> None:
        """Serves an RPC servicer to the services `callers`; see `grpc_server.Server.add`."""
        if self._server is None:
            raise MisconfiguredError("BREAKWATER_SERVICE_JWKS is missing: no RPC can be served without it")
        self._server.add(
            add_to_server, servicer, callers=callers, callers_of=callers_of, together=together, priority=priority
        )

    def add_front(self, front: Front) -> None:
        """Adds another server, such as HTTP: started after, drained before what is there already."""
        self._fronts.append(front)

    def background(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` beside the requests: started again with back-off when it fails or returns, cancelled in the
        drain.
        """
        self._tasks.append((name, work))

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enters a context manager that is left in the drain."""
        return await self._stack.enter_async_context(manager)

    def on_close(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Awaits `function` in the drain, after requests and background work have ended."""
        self._stack.push_async_callback(function)

    async def open_database(self, limits: PoolLimits | None = None) -> Database:
        """The pool of this process's role, guarded by the policy for `postgres`. Starts without PostgreSQL."""
        settings = self.settings
        if settings.database_url is None:
            raise MisconfiguredError("BREAKWATER_DATABASE_URL is missing")
        opened = await Database.open(
            settings.database_url,
            service=self.name,
            password=_secret(settings.database_password_file),
            policy=self.policy("postgres"),
            limits=limits,
        )
        self.on_close(opened.close)
        return opened

    async def open_bus(self) -> Bus:
        """The connection to NATS, guarded by the policy for `nats`; edges are reported on it. Starts without NATS."""
        settings = self.settings
        if settings.nats_url is None:
            raise MisconfiguredError("BREAKWATER_NATS_URL is missing")
        opened = await Bus.connect(
            settings.nats_url,
            service=self.name,
            user=settings.nats_user,
            password=_secret(settings.nats_password_file),
            policy=self.policy("nats"),
            stream_replicas=settings.nats_stream_replicas,
        )
        self.on_close(opened.close)
        self.background("edge-reports", lambda: self._reporter.publish(opened))
        self.background("override-watch", lambda: self._reporter.watch_overrides(opened))
        return opened

    def edges(self) -> EdgeReport:
        """What this process tells of its own edges; changes nothing."""
        return self._reporter.report()

    async def run(self) -> None:
        """Serves until a signal asks to stop, then drains. Raises what a front raises when it cannot start."""
        log = logging.get_logger(__name__)
        self.stop.listen()
        background = [asyncio.create_task(self._keep(name, work), name=name) for name, work in self._tasks]
        started: list[Front] = []
        try:
            for front in self._fronts:
                await front.start()
                started.append(front)
            self._serving = True
            log.info("serving", metrics_port=self.probes.port)
            await self.stop.wait()
            log.info("draining", grace_s=self.settings.drain_grace_s)
        finally:
            self._serving = False
            for front in reversed(started):
                await front.drain(self.settings.drain_grace_s)
            for task in background:
                task.cancel()
            if background:
                await asyncio.wait(background, timeout=BACKGROUND_DRAIN_S)
            self.stop.unlisten()
        log.info("drained")

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        failures = metrics.BACKGROUND_FAILURES.labels(name)
        log = logging.get_logger(__name__)
        pause_s = RESTART_S
        while True:
            began_s = self.clock.monotonic()
            try:
                await work()
                log.warning("background_ended", task=name)
            except Exception:  # one task's defect must not take the process; counted, logged, tried again
                failures.inc()
                log.exception("background_failed", task=name)
            if self.clock.monotonic() - began_s > RESTART_S_MAX:
                pause_s = RESTART_S
            await self.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, RESTART_S_MAX)

    async def _service_keys(self) -> KeySource | None:
        if self.settings.service_jwks is None:
            return None
        keys = KeySource(
            self.settings.service_jwks, production=self._production, clock=self.clock, rule=SERVICE_KEYS_RULE
        )
        await keys.start()
        self.background("service-keys", keys.run)
        return keys

    def _signer(self, published: KeySource | None) -> ServiceSigner | None:
        if self.settings.service_key_file is None:
            return None
        return ServiceSigner(
            self.settings.service_key_file,
            self.name,
            production=self._production,
            published=published,
            clock=self.clock,
        )

    def _serve_grpc(self, keys: KeySource) -> None:
        self._server = Server(self.name, self.settings, ServiceVerifier(keys, self.name, clock=self.clock))
        edges = EdgeService(self._reporter, self.overrides, self._policy_file)
        self.add_rpc(add_EdgeServiceServicer_to_server, edges, callers={OPS}, priority=Priority.OPS)
        self.add_front(self._server)


def _secret(file: Path | None) -> str | None:
    return read_secret(file).decode("utf-8") if file is not None else None
