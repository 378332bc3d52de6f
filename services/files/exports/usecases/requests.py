"""What the gateway asks for: an export is claimed, looked at, and its file read."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import ConflictError, FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor
from services.files.exports.domain import Failure, Job, JobState, Spec, in_words, problems_of
from services.files.exports.usecases.ports import Claims, Jobs, Objects


async def claim(claims: Claims, job_id: str, actor: Actor, spec: Spec, now: datetime) -> Job:
    """Makes the export ours; asking again answers the same job.

    One that cannot be made is claimed as failed, so that its requester hears of it whichever way it came. Raises
    RateLimitedError when the queue is full.
    """
    problems = problems_of(spec)
    failure = Failure("invalid_request", in_words("The export cannot be made.", problems)) if problems else None
    return await claims.add(job_id, actor, spec, now, failure)


class Exports:
    """What the gateway asks for."""

    def __init__(self, jobs: Jobs, objects: Objects, clock: Clock) -> None:
        self._jobs = jobs
        self._objects = objects
        self._clock = clock

    async def start(self, job_id: str, actor: Actor, spec: Spec) -> Job:
        """Claims an export; see `claim`."""
        return await claim(self._jobs, job_id, actor, spec, self._clock.now())

    async def get(self, job_id: str) -> Job:
        """How far a job is. Raises NotFoundError for one that was never claimed or is past its retention."""
        job = await self._jobs.get(job_id)
        if job is None:
            raise NotFoundError("There is no such export here.")
        if job.state is JobState.QUEUED:
            return replace(job, queue_moves=await self._jobs.working(self._clock.now()))
        return job

    async def read(self, job_id: str, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """The finished file from `offset`, `length` bytes of it or all when 0.

        Raises NotFoundError, ConflictError while there is no file, InvalidRequestError for a range outside of it.
        """
        job = await self.get(job_id)
        if job.artifact is None:
            raise ConflictError(f"The export is {job.state}.", code="export_not_ready")
        size_bytes = job.artifact.size_bytes
        if not 0 <= offset <= size_bytes:
            raise InvalidRequestError(
                "The range is not in the file.", errors=[FieldError("offset", f"is 0 to {size_bytes}")]
            )
        if length < 0:
            raise InvalidRequestError("The range is not in the file.", errors=[FieldError("length", "is not negative")])
        count = min(length or size_bytes, size_bytes - offset)
        if count:
            async with aclosing(self._objects.read(job.artifact.key, offset, count)) as pieces:
                async for piece in pieces:
                    yield piece
