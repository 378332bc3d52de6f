"""The gRPC server of a service: every RPC behind the fused wrapper, health, reflection in development, and a clean
drain.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from breakwater.chassis import metrics
from breakwater.chassis.auth import ServiceVerifier
from breakwater.chassis.grpc_methods import current_caller, method_for, wrap
from breakwater.chassis.settings import Environment, ServiceSettings
from breakwater.resilience.shedding import Limiter, Priority

__all__ = ["Server", "current_caller"]

NOT_SERVING_S = 0.2
"""Between telling clients to go elsewhere and refusing them: 0 errors in a drain (measurements.md, gRPC settings)."""
RPCS_PER_SLOT_MAX = 4
"""gRPC's own limit, as a multiple of ours: beyond it a call is refused before it costs a task."""

Servicer = TypeVar("Servicer")
AddToServer = Callable[[Servicer, grpc.aio.Server], None]


class Server:
    """Serves RPCs to services that are named for each servicer; nobody else is let in.

    `add` everything, `start`, and `drain` at the end.
    """

    def __init__(self, service: str, settings: ServiceSettings, verifier: ServiceVerifier) -> None:
        self._settings = settings
        self._verifier = verifier
        self.limiter = Limiter(
            ceiling=settings.grpc_concurrency_max,
            floor=min(settings.grpc_concurrency_min, settings.grpc_concurrency_max),
            start=settings.grpc_concurrency_start,
            ops_max=settings.grpc_ops_max,
            streams_max=settings.grpc_streams_max,
            adaptive=settings.grpc_concurrency_adaptive,
            ratio_max=settings.grpc_latency_ratio_max,
        )
        """Who is let in; health checks pass it by."""
        self._together: dict[str, Limiter] = {}
        """The limits of RPCs whose work is done together, by full name."""
        self._health = _Health()
        self._names: list[str] = ["", service]
        self._server = grpc.aio.server(
            options=_options(settings), maximum_concurrent_rpcs=settings.grpc_concurrency_max * RPCS_PER_SLOT_MAX
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = 0
        """The bound port, once started."""

    @property
    def in_flight(self) -> int:
        """RPCs being served, health checks excluded."""
        limiters = (self.limiter, *self._together.values())
        return sum(each.in_flight + each.ops_in_flight + each.streams_in_flight for each in limiters)

    def add(
        self,
        add_to_server: AddToServer[Servicer],
        servicer: Servicer,
        *,
        callers: Collection[str],
        callers_of: Mapping[str, Collection[str]] | None = None,
        together: Mapping[str, int] | None = None,
        priority: Priority | None = None,
    ) -> None:
        """Serves `servicer` to the services `callers`; `callers_of` replaces them for single RPCs by their short name.

        `together` names the RPCs whose work is done together, with how many are served at a time: the more of them, the
        longer and the cheaper each, so they are bounded by number, and neither judged by latency nor in the way of the
        others. `priority` holds for all of it; without, each call has its client's.

        Raises `ValueError` when `callers_of` or `together` names an RPC that does not exist, `TypeError` for a handler
        that is not async.
        """
        captured = _Captured()
        add_to_server(servicer, cast("grpc.aio.Server", captured))
        own, bounds = dict(callers_of or {}), dict(together or {})
        for service_name, handlers in captured.services.items():
            wrapped = {}
            for rpc, handler in handlers.items():
                name, limiter = f"{service_name}/{rpc}", self.limiter
                if rpc in bounds:
                    limiter = self._together[name] = Limiter(
                        ceiling=bounds.pop(rpc), floor=1, ops_max=self._settings.grpc_ops_max, adaptive=False
                    )
                method = method_for(
                    name,
                    handler,
                    callers=own.pop(rpc, callers),
                    verifier=self._verifier,
                    limiter=limiter,
                    unary_s=self._settings.grpc_deadline_default_s,
                    stream_s=self._settings.grpc_stream_deadline_default_s,
                    priority=priority,
                )
                wrapped[rpc] = wrap(method, handler)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, wrapped),))
            self._names.append(service_name)
        if own or bounds:
            raise ValueError(f"unknown RPCs are named: {sorted({*own, *bounds})}")

    async def start(self) -> None:
        """Binds the port and serves. Raises `OSError` when the port is taken."""
        if self._settings.environment is Environment.DEVELOPMENT:
            names = [name for name in self._names if "." in name]
            reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        address = f"{self._settings.host}:{self._settings.grpc_port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address} for gRPC") from error
        await self._server.start()
        metrics.LIMITS.watch("grpc", self.limiter)
        for name, limiter in self._together.items():
            metrics.LIMITS.watch(f"grpc {name}", limiter)
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_s: float) -> None:
        """Sends clients elsewhere, lets RPCs in flight end for at most `grace_s` seconds, and stops."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(NOT_SERVING_S)
        self._health.end_watches()
        await self._server.stop(grace_s)


class _Captured:
    """Stands in for the server in generated code and keeps the handlers it is given."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Any]] = {}

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        self.services[service_name] = method_handlers

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same handlers again, in a form that hides their names."""


class _Health(health.aio.HealthServicer):
    """Watches end in a drain; they would hold `stop` for its whole grace."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = asyncio.Event()

    def end_watches(self) -> None:
        """Ends every Watch."""
        self._ended.set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Streams the status of a service until it, the client or the server ends."""
        watch = asyncio.ensure_future(super().Watch(request, context))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({watch, ended}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                await watch
        finally:
            watch.cancel()
            ended.cancel()
            await asyncio.gather(watch, ended, return_exceptions=True)


def _options(settings: ServiceSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", settings.grpc_message_size_bytes_max),
        ("grpc.max_send_message_length", settings.grpc_message_size_bytes_max),
        ("grpc.max_metadata_size", settings.grpc_metadata_size_bytes_max),
        ("grpc.absolute_max_metadata_size", settings.grpc_metadata_size_bytes_max),
        ("grpc.max_concurrent_streams", settings.grpc_concurrency_max * RPCS_PER_SLOT_MAX),
        # Our channels ping every 30 s, also when idle; unallowed that draws GOAWAY (measurements.md, gRPC settings).
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # Two processes must not share a port by accident.
        ("grpc.so_reuseport", 0),
    ]
