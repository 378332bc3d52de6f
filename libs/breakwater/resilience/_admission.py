"""What the body of `Policy.admit()` is given."""

from collections.abc import Awaitable, Callable

from breakwater.resilience.faults import Fault


class Admission:
    """One admitted stream or transaction; its outcome is told by how its `async with` block ends."""

    __slots__ = ("_monotonic", "answered_at_s", "fault", "pacer", "started_s", "timeout_s")

    def __init__(self, timeout_s: float, monotonic: Callable[[], float]) -> None:
        self.timeout_s = timeout_s
        """What the body may take: the deadline's rest, at most `stream_s_max`. The transport keeps it."""
        self.started_s = monotonic()
        self.answered_at_s: float | None = None
        self.fault: Fault | None = None
        """What the transport has to commit itself (`Policy.chaos.transport_commits`)."""
        self.pacer: Callable[[], Awaitable[None]] | None = None
        self._monotonic = monotonic

    def answered(self) -> None:
        """The first answer came: the time until now is this call's latency. Later calls change nothing."""
        if self.answered_at_s is None:
            self.answered_at_s = self._monotonic()

    async def pace(self) -> None:
        """To be awaited before each message of a body: a `slow-body` fault waits here, within the attempt timeout.

        Raises `AttemptTimeoutError`.
        """
        if self.pacer is not None:
            await self.pacer()
