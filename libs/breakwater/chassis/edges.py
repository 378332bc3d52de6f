"""What a process tells of its edges, and the overrides it takes.

Figures go out each second and transitions at once, on core NATS; the same by gRPC, for when NATS is down. Overrides
come from the key-value bucket `overrides` and by gRPC; they end by themselves. Nothing here matters to requests: what
fails is tried again.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from nats.errors import Error as NatsError
from nats.js.api import KeyValueConfig
from nats.js.errors import NotFoundError as BucketNotFoundError
from nats.js.kv import KeyValue

from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.logging import get_logger
from breakwater.chassis.metrics import backlogs
from breakwater.chassis.overrides import MODES, Overrides, fault_to
from breakwater.chassis.policies import PolicyFile
from breakwater.edges.v1 import edges_pb2
from breakwater.edges.v1.edges_pb2_grpc import EdgeServiceServicer
from breakwater.resilience import CircuitState, PolicyRegistry, PolicySettings
from breakwater.resilience.snapshots import EdgeSnapshot, Transition

BUCKET = "overrides"
"""Keys are `<dependency>.<caller>`, with EVERY_CALLER for all; values are `breakwater.edges.v1.Override`."""
EVERY_CALLER = "_all_"
BUCKET_AGE_S_MAX = 24 * 3600.0
INTERVAL_S = 1.0
WATCH_S = 15.0
"""A watch is made anew this often: one that died silently over a reconnect loses no more time than this."""
RETRY_S = 1.0
TRANSITIONS_MAX = 100
"""Transitions kept while NATS is down; the state itself is in every report."""

SETTING_NAMES = tuple(each.name for each in fields(PolicySettings) if each.name not in {"caller", "dependency"})

_STATES = {
    CircuitState.CLOSED: edges_pb2.CIRCUIT_STATE_CLOSED,
    CircuitState.HALF_OPEN: edges_pb2.CIRCUIT_STATE_HALF_OPEN,
    CircuitState.OPEN: edges_pb2.CIRCUIT_STATE_OPEN,
}
_MODES = {mode: wire for wire, mode in MODES.items()}

_log = get_logger(__name__)


def subject_of(process: str) -> str:
    """Where a process reports, on core NATS."""
    return f"breakwater.edges.{process}"


def key_of(dependency: str, caller: str | None) -> str:
    """The bucket's key of an override."""
    return f"{dependency}.{caller or EVERY_CALLER}"


class EdgeReporter:
    """Tells the figures of one process's edges. `instance` tells replicas apart: host and pid."""

    def __init__(
        self, process: str, instance: str, policies: PolicyRegistry, overrides: Overrides, clock: Clock
    ) -> None:
        self._process = process
        self._instance = instance
        self._policies = policies
        self._overrides = overrides
        self._clock = clock
        self._transitions: deque[Transition] = deque(maxlen=TRANSITIONS_MAX)
        self._wake = asyncio.Event()
        policies.listen(self._note)

    def report(self, transition: Transition | None = None) -> edges_pb2.EdgeReport:
        """The present figures; changes nothing."""
        snapshots = self._policies.snapshots()
        report = edges_pb2.EdgeReport(
            process=self._process,
            instance=self._instance,
            as_of=_timestamp(self._clock.now()),
            edges=[_edge(snapshot) for snapshot in snapshots],
            latency_bounds_s=[bound_s for bound_s, _ in snapshots[0].totals.latency_counts] if snapshots else (),
            backlogs=[
                edges_pb2.Backlog(figure=each.figure, of=each.of, value=each.value, age_s=each.age_s)
                for each in backlogs()
            ],
        )
        if transition is not None:
            report.transition.CopyFrom(_transition(transition))
        return report

    def policies(self, file: PolicyFile) -> edges_pb2.ListPoliciesResponse:
        """What every edge goes by, and which place names each setting."""
        return edges_pb2.ListPoliciesResponse(
            process=self._process,
            instance=self._instance,
            loaded_at=_timestamp(file.loaded_at),
            policies=[_policy(policy.settings, file) for policy in file.registry],
            refused=file.refused,
        )

    async def publish(self, bus: Bus) -> None:
        """Publishes for as long as it is awaited; while NATS is down it keeps the newest transitions."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            if bus.connected:
                with suppress(BreakwaterError, NatsError, OSError):  # the next second brings the next report
                    while self._transitions:
                        await bus.publish(
                            subject_of(self._process), self.report(self._transitions[0]).SerializeToString()
                        )
                        self._transitions.popleft()
                    if loop.time() >= due_s:
                        await bus.publish(subject_of(self._process), self.report().SerializeToString())
            if loop.time() >= due_s:
                due_s = loop.time() + INTERVAL_S
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._wake.wait()

    async def settle_overrides(self) -> None:
        """Ends overrides in time, for as long as it is awaited."""
        while True:
            self._overrides.settle()
            await self._clock.sleep(INTERVAL_S)

    async def watch_overrides(self, bus: Bus) -> None:
        """Takes overrides from the bucket for as long as it is awaited, through every outage of NATS."""
        while True:
            try:
                await self._watch(await _bucket(bus))
            except (BreakwaterError, NatsError, TimeoutError, OSError) as error:
                _log.debug("overrides_unwatched", problem=type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _watch(self, bucket: KeyValue) -> None:
        loop = asyncio.get_running_loop()
        ends_at_s = loop.time() + WATCH_S
        watcher: Any = await bucket.watchall()  # untyped
        try:
            while loop.time() < ends_at_s:
                with suppress(TimeoutError):
                    entry = await watcher.updates(timeout=INTERVAL_S)
                    if entry is not None and entry.value:
                        self._take(entry.key, entry.value)
        finally:
            await watcher.stop()

    def _take(self, key: str, value: bytes) -> None:
        try:
            self._overrides.take(edges_pb2.Override.FromString(value))
        except (DecodeError, BreakwaterError) as error:
            _log.error("override_unusable", key=key, problem=str(error))

    def _note(self, transition: Transition) -> None:
        _log.warning(
            "edge_changed",
            caller=transition.caller,
            dependency=transition.dependency,
            old=transition.old.value,
            new=transition.new.value,
            reason=transition.reason,
        )
        self._transitions.append(transition)
        self._wake.set()


class EdgeService(EdgeServiceServicer):
    """The edges by gRPC, for the ops process; works while NATS is down."""

    def __init__(self, reporter: EdgeReporter, overrides: Overrides, policy_file: PolicyFile) -> None:
        self._reporter = reporter
        self._overrides = overrides
        self._policy_file = policy_file

    async def ListEdges(self, request: edges_pb2.ListEdgesRequest, context: Any) -> edges_pb2.ListEdgesResponse:
        """Every edge of this process."""
        del request, context
        return edges_pb2.ListEdgesResponse(report=self._reporter.report())

    async def ApplyOverride(
        self, request: edges_pb2.ApplyOverrideRequest, context: Any
    ) -> edges_pb2.ApplyOverrideResponse:
        """Lays or lifts an override. Raises `InvalidRequestError`."""
        del context
        return edges_pb2.ApplyOverrideResponse(edges=self._overrides.take(request.override))

    async def ListPolicies(
        self, request: edges_pb2.ListPoliciesRequest, context: Any
    ) -> edges_pb2.ListPoliciesResponse:
        """What every edge of this process goes by, and what was wrong with a later file."""
        del request, context
        return self._reporter.policies(self._policy_file)


async def _bucket(bus: Bus) -> KeyValue:
    jetstream = bus.jetstream
    try:
        return await jetstream.key_value(BUCKET)
    except BucketNotFoundError:
        # History 1 and an end: an override is gone from the bucket soon after it is gone from every process.
        return await jetstream.create_key_value(KeyValueConfig(bucket=BUCKET, history=1, ttl=BUCKET_AGE_S_MAX))


def _edge(snapshot: EdgeSnapshot) -> edges_pb2.Edge:
    edge = edges_pb2.Edge(
        caller=snapshot.caller,
        dependency=snapshot.dependency,
        state=_STATES[snapshot.state],
        availability=snapshot.availability,
        error_rate=snapshot.error_rate,
        errors=snapshot.errors,
        rate_per_s=snapshot.rate_per_s,
        p50_ms=snapshot.p50_ms,
        p90_ms=snapshot.p90_ms,
        p99_ms=snapshot.p99_ms,
        retries=snapshot.retries,
        retry_budget_tokens=snapshot.retry_budget_tokens,
        bulkhead_in_use=snapshot.bulkhead.in_use,
        bulkhead_limit=snapshot.bulkhead.limit,
        bulkhead_queued=snapshot.bulkhead.queued,
        next_probe_s=snapshot.next_probe_s,
        fallbacks=snapshot.fallbacks,
        injected=snapshot.injected,
        calls=snapshot.calls,
        availability_first=snapshot.availability_first,
        slow_rate=snapshot.slow_rate,
        p99_5_ms=snapshot.p99_5_ms,
        bulkhead_queue_max=snapshot.bulkhead.queue_max,
        totals=_totals(snapshot),
    )
    if snapshot.override is not None:
        edge.forced.CopyFrom(
            edges_pb2.Override(
                caller=snapshot.caller,
                dependency=snapshot.dependency,
                mode=_MODES[snapshot.override.mode],
                actor=snapshot.override.actor,
                reason=snapshot.override.reason,
                expires_at=_timestamp(snapshot.override.expires_at),
                fault=fault_to(snapshot.override.fault) if snapshot.override.fault else None,
            )
        )
    return edge


def _totals(snapshot: EdgeSnapshot) -> edges_pb2.EdgeTotals:
    totals = snapshot.totals
    within = [count for _, count in totals.latency_counts]
    return edges_pb2.EdgeTotals(
        outcomes={name: count for name, count in totals.outcomes.items() if count},
        retries=totals.retries,
        fallbacks=totals.fallbacks,
        latency_counts=[count - below for below, count in zip((0, *within), within, strict=False)],
    )


def _policy(settings: PolicySettings, file: PolicyFile) -> edges_pb2.EdgePolicy:
    policy = edges_pb2.EdgePolicy(caller=settings.caller, dependency=settings.dependency)
    for name in SETTING_NAMES:
        value = getattr(settings, name)
        told = policy.settings.add(name=name, origin=file.origin_of(settings.dependency, name))
        if isinstance(value, bool):
            told.flag = value
        else:
            told.number = value
    return policy


def _transition(transition: Transition) -> edges_pb2.Transition:
    return edges_pb2.Transition(
        caller=transition.caller,
        dependency=transition.dependency,
        from_state=_STATES[transition.old],
        to_state=_STATES[transition.new],
        reason=transition.reason,
        at=_timestamp(transition.at),
    )


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
