"""The object store: a local folder by default, S3 or what speaks like it by URL (obstore for both).

An object appears whole when its upload ends, never before: a folder's object is written aside and renamed, S3's is a
multipart upload. A worker that is killed leaves its upload unfinished; a folder's is removed with its job, S3's by the
bucket's life-cycle rule.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from breakwater.chassis.errors import BreakwaterError, NotFoundError, UnavailableError
from breakwater.chassis.policies import error_of_policy
from breakwater.resilience import Outcome, Policy, PolicyError

T = TypeVar("T")

DEPENDENCY: Final = "objects"
PIECE_BYTES_MAX: Final = 1024 * 1024
"""Content is read in pieces of at most this (files.v1.ReadContentResponse)."""
PART_BYTES: Final = 8 * 1024 * 1024
"""Buffered before it is sent; S3 takes at most 10,000 parts, so a file may have 80 GB."""
UPLOADS_MAX: Final = 2
"""Parts of one file on their way at a time: with PART_BYTES the memory an upload takes."""

_NO_RETRIES: Final[Any] = {"max_retries": 0}  # one layer only: reads are tried again by the policy, files by their jobs


def classify(error: BaseException) -> Outcome:
    """What an error of the store says of it: an object that is not there is an answer."""
    return Outcome.CALLER_FAULT if isinstance(error, FileNotFoundError) else Outcome.FAILURE


class ObjectStore:
    """Objects by key. Each single operation is a call of the policy files -> objects.

    Raises UnavailableError and its kin with `dependency="objects"`, NotFoundError for an object that is not there.
    """

    def __init__(self, url: str, policy: Policy, options: Mapping[str, Any] | None = None) -> None:
        """`url` is file:///folder, made when it is missing, or s3://bucket/prefix.

        `options` are those of obstore for S3 (credentials, region, endpoint), and `allow_http` for a server without TLS.
        """
        self._policy = policy
        self._store: Any
        if url.startswith("file://"):
            self._store = LocalStore.from_url(url, mkdir=True)
        else:
            config: Any = dict(options or {})
            client: Any = {"allow_http": bool(config.pop("allow_http", False))}
            self._store = S3Store.from_url(url, config=config, client_options=client, retry_config=_NO_RETRIES)

    @asynccontextmanager
    async def writing(self, key: str) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        """An object that comes into being when the block ends, and not at all when it raises."""
        writer = obstore.open_writer_async(self._store, key, buffer_size=PART_BYTES, max_concurrency=UPLOADS_MAX)
        part = bytearray()

        async def send() -> None:
            data = bytes(part)
            part.clear()
            with _nowhere_to_write():
                await writer.write(data)

        async def write(data: bytes) -> None:
            # A whole part at a time: what only fills a buffer would count as an answer of a store that is long gone.
            part.extend(data)
            if len(part) >= PART_BYTES:
                await self._ask(send)

        async def finish() -> None:
            await send()
            with _nowhere_to_write():
                await writer.close()

        try:
            yield write
        except BaseException:
            ended_by = sys.exc_info()
            # What ended the block is the news; an upload that cannot even be given up is cleared with its job.
            with suppress(BreakwaterError):
                await self._ask(lambda: writer.__aexit__(*ended_by))
            raise
        await self._ask(finish)

    async def read(self, key: str, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """`length` bytes from `offset`, in pieces of at most 1 MiB."""
        span: Any = {"range": (offset, offset + length)}
        found = await self._ask(lambda: obstore.get_async(self._store, key, options=span), retryable=True)
        pieces = aiter(found.stream(min_chunk_size=PIECE_BYTES_MAX))
        while (piece := await self._ask(lambda: anext(pieces, None))) is not None:
            view = memoryview(piece)
            for start in range(0, len(view), PIECE_BYTES_MAX):
                yield bytes(view[start : start + PIECE_BYTES_MAX])

    async def delete(self, key: str) -> None:
        """Removes an object; one that is not there is removed already."""
        with suppress(NotFoundError):
            await self._ask(lambda: obstore.delete_async(self._store, key), retryable=True)

    async def clear(self, folder: str) -> None:
        """Removes everything in a folder, unfinished uploads included where the store is a local one."""
        await self._ask(lambda: self._remove_all(folder), retryable=True)

    async def _remove_all(self, folder: str) -> None:
        if isinstance(self._store, LocalStore):
            await asyncio.to_thread(shutil.rmtree, Path(self._store.prefix or "/") / folder, ignore_errors=True)
            return
        async for found in obstore.list(self._store, prefix=folder + "/"):
            await obstore.delete_async(self._store, [each["path"] for each in found])

    async def _ask(self, operation: Callable[[], Awaitable[T]], *, retryable: bool = False) -> T:
        async def attempt(_timeout_s: float) -> T:
            return await operation()

        try:
            return await self._policy.call(attempt, retryable=retryable)
        except PolicyError as error:
            raise error_of_policy(error) from error
        except FileNotFoundError as error:
            raise NotFoundError("The content is gone.", code="content_gone") from error
        except (BaseError, OSError) as error:
            raise UnavailableError("The object store failed.", dependency=DEPENDENCY) from error


@contextmanager
def _nowhere_to_write() -> Iterator[None]:
    """A bucket that is missing is the store's fault; told as a missing object it would end the job for good."""
    try:
        yield
    except FileNotFoundError as error:
        raise UnavailableError("The object store has no such bucket.", dependency=DEPENDENCY) from error
