"""Every other process's edges: read and overridden directly by gRPC, so that neither needs NATS."""

import asyncio
from collections.abc import Mapping

from nats.errors import Error as NatsError
from nats.js.api import KeyValueConfig
from nats.js.errors import NotFoundError as BucketNotFoundError

from breakwater.chassis.bus import Bus
from breakwater.chassis.channels import Channel
from breakwater.chassis.edges import BUCKET, BUCKET_AGE_S_MAX, key_of
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.logging import get_logger
from breakwater.edges.v1 import edges_pb2 as pb
from breakwater.edges.v1.edges_pb2_grpc import EdgeServiceStub
from breakwater.resilience import Deadline
from services.gateway.ops.edges.domain import Report
from services.gateway.ops.overrides.domain import OverrideOrder
from services.gateway.ops.overrides.usecases import Delivery
from services.gateway.ops.translation import order_to_wire, report_from_wire

DELIVERY_TIMEOUT_S = 1.0
"""For each way an override takes; both together stay within the 2 s of issue and ADR."""

_log = get_logger(__name__)


class Peers:
    """The edge services of the other processes."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = dict(channels)
        self._stubs = {name: EdgeServiceStub(channel.grpc) for name, channel in channels.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._channels)

    async def report(self, process: str) -> Report:
        """What the process tells of its edges now. Raises `BreakwaterError` when it does not answer."""
        deadline = Deadline.after(DELIVERY_TIMEOUT_S)
        method = self._stubs[process].ListEdges
        answer = await self._channels[process].unary(method, pb.ListEdgesRequest(), deadline=deadline)
        return report_from_wire(answer.report)

    async def apply(self, process: str, override: pb.Override) -> int:
        """How many edges of the process it changed. Raises `BreakwaterError` when it does not answer."""
        deadline = Deadline.after(DELIVERY_TIMEOUT_S)
        request = pb.ApplyOverrideRequest(override=override)
        method = self._stubs[process].ApplyOverride
        answer = await self._channels[process].unary(method, request, deadline=deadline, retryable=True)
        return answer.edges


class OverrideCarrier:
    """Brings an override to every process by gRPC, and into the bucket for those that start later."""

    def __init__(self, peers: Peers, bus: Bus) -> None:
        self._peers = peers
        self._bus = bus

    async def deliver(self, what: OverrideOrder) -> Delivery:
        override = order_to_wire(what)
        *answers, in_bucket = await asyncio.gather(
            *(self._apply(process, override) for process in self._peers.names), self._put(what, override)
        )
        reached = {name: edges for name, edges in zip(self._peers.names, answers, strict=True) if edges is not None}
        unreached = tuple(name for name in self._peers.names if name not in reached)
        return Delivery({name: edges for name, edges in reached.items() if edges}, unreached, bool(in_bucket))

    async def _apply(self, process: str, override: pb.Override) -> int | None:
        try:
            return await self._peers.apply(process, override)
        except BreakwaterError as error:
            _log.warning("override_not_delivered", process=process, code=error.code)
            return None

    async def _put(self, what: OverrideOrder, override: pb.Override) -> bool:
        try:
            async with asyncio.timeout(DELIVERY_TIMEOUT_S):
                jetstream = self._bus.jetstream
                try:
                    bucket = await jetstream.key_value(BUCKET)
                except BucketNotFoundError:
                    config = KeyValueConfig(bucket=BUCKET, history=1, ttl=BUCKET_AGE_S_MAX)
                    bucket = await jetstream.create_key_value(config)
                await bucket.put(key_of(what.dependency, what.caller), override.SerializeToString())
        except (BreakwaterError, NatsError, TimeoutError, OSError) as error:
            _log.warning("override_not_in_bucket", problem=type(error).__name__)
            return False
        return True
