"""Requests over core NATS and their answers. Only requests carry a deadline and a priority; events never do.

The deadline travels as a moment, not as a rest: a request may wait in the receiver's connection, and that wait has to
count. Clocks that differ shift it by as much as they differ. A request that claims more time than any may have gets that
much. Whoever is to be asked by another service needs the subject in deploy/nats/permissions.yaml.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from breakwater.chassis import metrics, telemetry, wire
from breakwater.chassis.bus import Bus
from breakwater.chassis.buserrors import DEPENDENCY, DRIVER_ERRORS, translated
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, DeadlineExceededError, InternalError, UnavailableError
from breakwater.chassis.logging import get_logger
from breakwater.resilience import Deadline, current_deadline
from breakwater.resilience.shedding import Priority, current_priority

REQUEST_S_MAX = 30.0
"""The most time a request may claim, and what one has that claims none."""
DEADLINE_HEADER = "Breakwater-Deadline"
"""Milliseconds since 1970, UTC."""
FAILURE_HEADER = "Nats-Service-Error-Code"
"""As NATS's own services answer a failure (ADR-32); the value is our error's code."""

Answer = Callable[[bytes], Awaitable[bytes]]

_log = get_logger(__name__)


async def request(bus: Bus, clock: Clock, subject: str, payload: bytes = b"") -> bytes:
    """Asks whoever serves `subject`, in the time of the present request. Raises `UnavailableError` and its subclasses."""
    deadline = current_deadline.get() or Deadline.after(REQUEST_S_MAX, clock)
    # In this order: whatever comes between the two readings makes the deadline earlier, never later.
    now = clock.now()
    left_s = deadline.remaining_s()
    if left_s <= 0:
        raise DeadlineExceededError("The deadline passed before the request was sent.", dependency=DEPENDENCY)
    headers = {
        DEADLINE_HEADER: str(int((now + timedelta(seconds=left_s)).timestamp() * 1000)),
        wire.PRIORITY_METADATA: current_priority.get().value,
    }
    if traceparent := telemetry.current_traceparent():
        headers["traceparent"] = traceparent
    try:
        answer = await bus.client.request(subject, payload, timeout=left_s, headers=headers)
    except NoRespondersError as error:
        raise UnavailableError(f"Nobody answers on {subject}.") from error
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    failure = (answer.headers or {}).get(FAILURE_HEADER)
    if failure is not None:
        raise UnavailableError(f"{subject} could not do it.", code=failure)
    return answer.data


async def serve(bus: Bus, clock: Clock, subject: str, answer: Answer, *, queue: str) -> None:
    """Answers requests on `subject`, one at a time; replicas with the same `queue` share them.

    Work past its deadline is not started and not answered, for nobody waits. An expected failure is answered by its
    code, any other as `internal`.
    """
    came = partial(metrics.BUS_REQUESTS.labels, bus.service, subject)

    async def take(message: Msg) -> None:
        headers = message.headers or {}
        left_s = _left_s(headers.get(DEADLINE_HEADER), clock)
        if left_s <= 0:
            came("late").inc()
            return
        current_deadline.set(Deadline.after(left_s, clock))
        current_priority.set(_PRIORITIES.get(headers.get(wire.PRIORITY_METADATA, ""), Priority.INTERACTIVE))
        with telemetry.remote_context(headers.get("traceparent")):
            failure = {}
            try:
                content, outcome = await answer(message.data), "answered"
            except BreakwaterError as error:
                content, outcome, failure = b"", "refused", {FAILURE_HEADER: error.code}
            except Exception:  # noqa: BLE001 - a defect: logged, and its text stays here
                _log.exception("request_crashed", subject=subject)
                content, outcome, failure = b"", "crashed", {FAILURE_HEADER: InternalError.default_code}
        came(outcome).inc()
        if message.reply:
            await bus.publish(message.reply, content, failure)

    await bus.subscribe(subject, take, queue=queue)


def _left_s(claimed: str | None, clock: Clock) -> float:
    if claimed is None or not claimed.isdigit():
        return REQUEST_S_MAX
    return min(REQUEST_S_MAX, int(claimed) / 1000 - clock.now().timestamp())


_PRIORITIES = {priority.value: priority for priority in Priority}
