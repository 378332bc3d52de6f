"""Every other process's edges: read and overridden directly by gRPC, so that neither needs NATS."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from nats.errors import Error as NatsError
from nats.js.api import KeyValueConfig
from nats.js.errors import KeyNotFoundError
from nats.js.errors import NotFoundError as BucketNotFoundError
from nats.js.kv import KeyValue

from breakwater.chassis import deadletters
from breakwater.chassis.bus import Bus
from breakwater.chassis.channels import Channel
from breakwater.chassis.deadletters import DeadLetter
from breakwater.chassis.edges import BUCKET, BUCKET_AGE_S_MAX, key_of
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.logging import get_logger
from breakwater.chassis.overrides import Overrides
from breakwater.edges.v1 import edges_pb2 as pb
from breakwater.edges.v1.edges_pb2_grpc import EdgeServiceStub
from breakwater.resilience import Deadline
from services.gateway.ops.edges.domain import EdgePolicy, Report
from services.gateway.ops.overrides.domain import OverrideOrder
from services.gateway.ops.overrides.usecases import Delivery
from services.gateway.ops.translation import order_to_wire, policies_from_wire, report_from_wire

if TYPE_CHECKING:
    from breakwater.edges.v1.edges_pb2_grpc import EdgeServiceAsyncStub

DELIVERY_TIMEOUT_S = 1.0
"""For each way an override takes; both together stay within the 2 s of issue and ADR."""

T = TypeVar("T")
_log = get_logger(__name__)


class Peers:
    """The edge services of the other processes, every replica by itself."""

    def __init__(self, channels: Mapping[str, Sequence[Channel]]) -> None:
        self._replicas = {
            name: tuple((channel, EdgeServiceStub(channel.grpc)) for channel in each) for name, each in channels.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._replicas)

    async def reports(self, process: str) -> list[Report]:
        """What the replicas that answer tell of their edges now."""

        async def ask(channel: Channel, stub: "EdgeServiceAsyncStub") -> Report:
            answer = await channel.unary(stub.ListEdges, pb.ListEdgesRequest(), deadline=_soon())
            return report_from_wire(answer.report)

        return [report for report in await self._ask(process, ask) if report is not None]

    async def policies(self, process: str, dependency: str) -> list[EdgePolicy]:
        """What the edges of the replicas that answer go by."""

        async def ask(channel: Channel, stub: "EdgeServiceAsyncStub") -> tuple[EdgePolicy, ...]:
            answer = await channel.unary(stub.ListPolicies, pb.ListPoliciesRequest(), deadline=_soon())
            return policies_from_wire(answer, dependency)

        return [policy for each in await self._ask(process, ask) if each is not None for policy in each]

    async def apply(self, process: str, override: pb.Override) -> int | None:
        """How many edges of the process it governs; None where a replica did not answer."""
        request = pb.ApplyOverrideRequest(override=override)

        async def ask(channel: Channel, stub: "EdgeServiceAsyncStub") -> int:
            return (await channel.unary(stub.ApplyOverride, request, deadline=_soon(), retryable=True)).edges

        answers = await self._ask(process, ask)
        return None if None in answers else sum(edges or 0 for edges in answers)

    async def _ask(
        self, process: str, ask: Callable[[Channel, "EdgeServiceAsyncStub"], Awaitable[T]]
    ) -> list[T | None]:
        async def one(channel: Channel, stub: "EdgeServiceAsyncStub") -> T | None:
            try:
                return await ask(channel, stub)
            except BreakwaterError as error:
                _log.debug("edges_not_asked", process=process, code=error.code, problem=error.detail)
                return None

        return await asyncio.gather(*(one(channel, stub) for channel, stub in self._replicas[process]))


class DeadLetters:
    """What consumers gave up, in JetStream. Both raise `UnavailableError` while NATS is down."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self, limit: int, *, after_seq: int) -> list[DeadLetter]:
        """The oldest `limit` past `after_seq`."""
        return await deadletters.read(self._bus, limit, after_seq=after_seq)

    async def replay(self, seq: int) -> DeadLetter:
        """Published again, and gone from the stream. Raises `NotFoundError` too."""
        return await deadletters.replay(self._bus, seq)


class OverrideCarrier:
    """Brings an override to every process by gRPC, and into the bucket for those that start later."""

    def __init__(self, peers: Peers, bus: Bus, process: str, own: Overrides) -> None:
        self._peers = peers
        self._bus = bus
        self._process = process
        self._own = own

    async def deliver(self, what: OverrideOrder) -> Delivery:
        override = order_to_wire(what)
        *answers, in_bucket = await asyncio.gather(
            *(self._peers.apply(process, override) for process in self._peers.names), self.keep(what)
        )
        reached = {name: edges for name, edges in zip(self._peers.names, answers, strict=True) if edges is not None}
        reached[self._process] = self._own.take(override)
        unreached = tuple(name for name in self._peers.names if name not in reached)
        for process in unreached:
            _log.warning("override_not_delivered", process=process)
        return Delivery({name: edges for name, edges in reached.items() if edges}, unreached, bool(in_bucket))

    async def keep(self, what: OverrideOrder) -> bool:
        """Whether NATS keeps the order, or a later one, for processes that start later."""
        key, override = key_of(what.dependency, what.caller), order_to_wire(what)
        try:
            async with asyncio.timeout(DELIVERY_TIMEOUT_S):
                bucket = await self._bucket()
                try:
                    entry = await bucket.get(key)
                except KeyNotFoundError:
                    revision = 0
                else:
                    revision = entry.revision or 0
                    if _moment_of(pb.Override.FromString(entry.value or b"")) >= _moment_of(override):
                        return True
                # Refused where somebody else put in between: then the next try finds the later one.
                await bucket.update(key, override.SerializeToString(), last=revision)
        except (BreakwaterError, NatsError, TimeoutError, OSError) as error:
            _log.warning("override_not_in_bucket", problem=type(error).__name__)
            return False
        return True

    async def _bucket(self) -> KeyValue:
        jetstream = self._bus.jetstream
        try:
            return await jetstream.key_value(BUCKET)
        except BucketNotFoundError:
            return await jetstream.create_key_value(KeyValueConfig(bucket=BUCKET, history=1, ttl=BUCKET_AGE_S_MAX))


def _moment_of(override: pb.Override) -> tuple[int, int]:
    return override.set_at.seconds, override.set_at.nanos


def _soon() -> Deadline:
    return Deadline.after(DELIVERY_TIMEOUT_S)
