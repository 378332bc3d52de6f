"""Files are encoded by a child process for each; this is its other end, inside the event loop."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from breakwater.chassis.errors import PayloadTooLargeError
from services.files.exports.domain import DATASETS, Progress, Spec
from services.files.exports.frames import HEADER, PROGRESS, Kind, frame

READ_AHEAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""Content read ahead of the object store; beyond it the encoder waits, and so does the source of the rows."""

_COMMAND: Final = (sys.executable, "-m", "services.files.exports.encoder")


class EncoderLostError(Exception):
    """The encoder process ended before its file: killed, out of memory, or a defect; its stderr has more."""


class ProcessEncoder:
    """Starts `services.files.exports.encoder` for each file. `zone` is an IANA name."""

    def __init__(self, *, zone: str, memory_bytes_max: int) -> None:
        self._zone = zone
        self._memory_bytes_max = memory_bytes_max

    async def encode(self, spec: Spec, chunks: AsyncIterator[bytes], progress: Progress) -> AsyncGenerator[bytes, None]:
        """The file, piece by piece, as fast as both ends allow. What `chunks` raises is raised here.

        Raises PayloadTooLargeError when the rows do not fit such a file, EncoderLostError.
        """
        order = {
            "format": spec.format,
            "title": DATASETS[spec.dataset],
            "zone": self._zone,
            "memory_bytes_max": self._memory_bytes_max,
        }
        process, ours = _start()
        try:
            source, target = await asyncio.open_unix_connection(sock=ours, limit=READ_AHEAD_BYTES_MAX)
            feeding = asyncio.create_task(_feed(target, json.dumps(order).encode(), chunks))
            try:
                async for piece in _pieces(source, progress):
                    yield piece
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                # A source that failed is why the encoder ended, so its failure comes first; one that is only silent is not.
                if feeding.done():
                    feeding.result()
                raise EncoderLostError(f"the encoder ended with {process.poll()}") from error
            finally:
                feeding.cancel()
                await asyncio.wait({feeding})
                target.close()
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)


def _start() -> tuple["subprocess.Popen[bytes]", socket.socket]:
    # Not by the event loop's own means: those fork, and gRPC's threads do not survive that; Popen uses vfork.
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 (a fixed command)
            _COMMAND,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            # Nothing of our own environment: it names secrets, and the encoder needs none.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            # A Ctrl-C is for the process that drains, not for its encoders.
            start_new_session=True,
        )
    return process, ours


async def _feed(encoder: StreamWriter, order: bytes, chunks: AsyncIterator[bytes]) -> None:
    try:
        encoder.write(frame(Kind.ORDER, order))
        async for chunk in chunks:
            encoder.write(frame(Kind.CHUNK, chunk))
            await encoder.drain()
        encoder.write(frame(Kind.END))
        await encoder.drain()
    except ConnectionError:
        return  # it ended first: the reading side says why
    except BaseException:
        encoder.write_eof()  # without an end the encoder gives up
        raise


async def _pieces(encoder: StreamReader, progress: Progress) -> AsyncGenerator[bytes, None]:
    while True:
        kind, length = HEADER.unpack(await encoder.readexactly(HEADER.size))
        content = await encoder.readexactly(length)
        match kind:
            case Kind.CONTENT:
                yield content
            case Kind.PROGRESS:
                progress.rows_done, progress.rows_total = PROGRESS.unpack(content)
            case Kind.REFUSED:
                refusal = json.loads(content)
                raise PayloadTooLargeError(refusal["detail"], code=refusal["code"])
            case _:
                return
