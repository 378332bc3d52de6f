"""What nats-py's errors mean: to callers (`translated`), and to the policy of the edge (`classify`)."""

import asyncio

import nats.errors
import nats.js.errors

from breakwater.chassis.errors import DeadlineExceededError, UnavailableError
from breakwater.resilience import Outcome

DEPENDENCY = "nats"

DRIVER_ERRORS = (nats.errors.Error, OSError)
"""What a call on the connection may raise; a time-out is an `OSError`."""

_MISSING = (nats.js.errors.NotFoundError, nats.js.errors.NoStreamResponseError, nats.errors.NoRespondersError)


class StreamMissingError(UnavailableError):
    """No stream takes this subject, or JetStream is not up yet."""


def translated(error: Exception) -> UnavailableError:
    """The error callers see."""
    if isinstance(error, _MISSING):
        return StreamMissingError("JetStream has no such stream.", dependency=DEPENDENCY)
    if isinstance(error, TimeoutError):
        return DeadlineExceededError("NATS did not answer in time.", dependency=DEPENDENCY)
    if isinstance(error, nats.js.errors.APIError):
        return UnavailableError(f"JetStream refused: {error.description}.", dependency=DEPENDENCY)
    return UnavailableError("NATS cannot be reached.", dependency=DEPENDENCY)


def classify(error: BaseException) -> Outcome:
    """For the policy of `service -> nats`: only what NATS failed to do counts against it."""
    if isinstance(error, DeadlineExceededError) and error.dependency == DEPENDENCY:
        return Outcome.TIMEOUT
    if isinstance(error, UnavailableError) and error.dependency == DEPENDENCY:
        return Outcome.FAILURE
    if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
        return Outcome.CANCELLED
    return Outcome.CALLER_FAULT
