"""What claiming, making and reading exports needs: where jobs, rows, files and keys are."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from breakwater.chassis.identity import Actor
from services.files.exports.domain import Artifact, Failure, Job, Progress, Spec


class Claims(Protocol):
    """Where jobs are claimed, in the transaction of whoever asks."""

    async def add(self, job_id: str, actor: Actor, spec: Spec, now: datetime, failure: Failure | None) -> Job:
        """The job of that id, new or already known. Raises RateLimitedError when the queue is full."""
        ...


class Jobs(Claims, Protocol):
    """The jobs; those that end one tell whether the holder still had it."""

    async def get(self, job_id: str) -> Job | None: ...

    async def take(self, holder: str, now: datetime, until: datetime, rows_max: int | None = None) -> Job | None: ...

    async def working(self, now: datetime) -> bool: ...

    async def extend(self, job: Job, progress: Progress, until: datetime) -> bool: ...

    async def complete(self, job: Job, artifact: Artifact, now: datetime, remove_at: datetime) -> bool: ...

    async def fail(self, job: Job, failure: Failure, now: datetime, remove_at: datetime) -> bool: ...

    async def put_back(self, job: Job, due_at: datetime, *, failures: int, defects: int) -> bool: ...

    async def take_expired(self, now: datetime, until: datetime, limit: int) -> list[str]: ...

    async def remove(self, job_id: str) -> None: ...


class Rows(Protocol):
    """The rows of a dataset as its owner sends them: opaque chunks, the first with the columns."""

    def chunks(self, actor: Actor, spec: Spec, progress: Progress) -> AsyncGenerator[bytes, None]:
        """With the first, `progress` knows how many rows there are."""
        ...


class Encoder(Protocol):
    """Turns chunks of rows into a file's bytes and keeps `progress` up to date."""

    def encode(
        self, job: Job, chunks: AsyncGenerator[bytes, None], progress: Progress, password: str | None
    ) -> AsyncGenerator[bytes, None]: ...


class Seals(Protocol):
    """What opens a password that was sealed for a job."""

    def open(self, sealed: bytes, bound_to: str) -> str | None:
        """None when it cannot be opened any more."""
        ...


class Objects(Protocol):
    """The object store."""

    def writing(self, key: str) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]:
        """An object that comes into being when the block ends, and not at all when it raises."""
        ...

    def read(self, key: str, offset: int, length: int) -> AsyncGenerator[bytes, None]: ...

    async def delete(self, key: str) -> None: ...

    async def clear(self, folder: str) -> None:
        """Removes everything in a folder, unfinished uploads included."""
        ...
