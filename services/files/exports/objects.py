"""The object store: a local folder by default, S3 or what speaks like it by URL (obstore for both).

An object appears whole when its upload ends, never before: a folder's object is written aside and renamed, S3's is a
multipart upload. A worker that is killed leaves its upload unfinished; a folder's is removed with its job, S3's by the
bucket's life-cycle rule.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.chassis.policies import error_of_policy
from breakwater.resilience import Outcome, Policy, PolicyError

DEPENDENCY: Final = "objects"
PIECE_BYTES_MAX: Final = 1024 * 1024
"""Content is read in pieces of at most this (files.v1.ReadContentResponse)."""
PART_BYTES: Final = 8 * 1024 * 1024
"""Buffered before it is sent; S3 takes at most 10,000 parts, so a file may have 80 GB."""
UPLOADS_MAX: Final = 2
"""Parts of one file on their way at a time: with PART_BYTES the memory an upload takes."""
OPERATION_TIMEOUT_S: Final = 30.0

_NO_RETRIES: Final[Any] = {"max_retries": 0}  # one layer only: reads are tried again by callers, files by their jobs


class ObjectStoreError(UnavailableError):
    """The store failed; the only error that counts against the edge to it."""


def classify(error: BaseException) -> Outcome:
    """What an error within a guarded block says of the store; whatever else fails there says nothing."""
    if isinstance(error, ObjectStoreError):
        return Outcome.FAILURE
    return Outcome.CALLER_FAULT if isinstance(error, NotFoundError) else Outcome.CANCELLED


class ObjectStore:
    """Objects by key, every operation guarded by the policy files -> objects."""

    def __init__(self, url: str, policy: Policy, options: Any = None) -> None:
        """`url` is file:///folder, made when it is missing, or s3://bucket/prefix. `options` are those of obstore."""
        self._policy = policy
        self._store: Any
        if url.startswith("file://"):
            self._store = LocalStore.from_url(url, mkdir=True)
        else:
            self._store = S3Store.from_url(url, config=options, retry_config=_NO_RETRIES)

    @asynccontextmanager
    async def writing(self, key: str) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        """An object that comes into being when the block ends, and not at all when it raises.

        Raises ObjectStoreError, and UnavailableError or RateLimitedError when the edge is closed.
        """
        async with self._guarded():
            writer = obstore.open_writer_async(self._store, key, buffer_size=PART_BYTES, max_concurrency=UPLOADS_MAX)

            async def write(data: bytes) -> None:
                await _answer(writer.write(data))

            async with writer_of(writer):
                yield write

    async def read(self, key: str, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """`length` bytes from `offset`, in pieces of at most 1 MiB. Raises what `writing` raises, and NotFoundError."""
        async with self._guarded() as answered:
            found = await _answer(obstore.get_async(self._store, key, options={"range": (offset, offset + length)}))
            answered()
            pieces = aiter(found.stream(min_chunk_size=PIECE_BYTES_MAX))
            while (piece := await _answer(anext(pieces, None))) is not None:
                view = memoryview(piece)
                for start in range(0, len(view), PIECE_BYTES_MAX):
                    yield bytes(view[start : start + PIECE_BYTES_MAX])

    async def delete(self, key: str) -> None:
        """Removes an object; one that is not there is removed already."""
        async with self._guarded():
            try:
                await _answer(obstore.delete_async(self._store, key))
            except NotFoundError:
                return

    async def clear(self, folder: str) -> None:
        """Removes everything in a folder, unfinished uploads included where the store is a local one."""
        async with self._guarded():
            if isinstance(self._store, LocalStore):
                root = self._store.prefix
                await asyncio.to_thread(shutil.rmtree, Path(root or "/") / folder, ignore_errors=True)
                return
            async for found in obstore.list(self._store, prefix=folder + "/"):
                await _answer(obstore.delete_async(self._store, [each["path"] for each in found]))

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[Callable[[], None]]:
        try:
            async with self._policy.admit() as admission:
                yield admission.answered
        except PolicyError as error:
            if error.dependency != DEPENDENCY:
                raise
            raise error_of_policy(error) from error


@asynccontextmanager
async def writer_of(writer: Any) -> AsyncIterator[None]:
    """Ends an upload when the block ends, gives it up when the block raises."""
    try:
        yield
    except BaseException as error:
        with _translated():
            await writer.__aexit__(type(error), error, error.__traceback__)
        raise
    await _answer(writer.close())


async def _answer(work: Awaitable[Any]) -> Any:
    with _translated():
        async with asyncio.timeout(OPERATION_TIMEOUT_S):
            return await work


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError("The content is gone.", code="content_gone") from error
    except (BaseError, OSError) as error:  # TimeoutError is one of the latter
        raise ObjectStoreError("The object store failed.", dependency=DEPENDENCY) from error
