"""Files are encoded by a child process for each; this is its other end, inside the event loop."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, cast

from breakwater.chassis.errors import PayloadTooLargeError
from services.files.exports.domain import DATASETS, Progress, Spec
from services.files.exports.frames import HEADER, PROGRESS, Kind, frame

PIPE_BYTES_MAX: Final = 2 * 1024 * 1024
"""Content read ahead of the object store; beyond it the encoder waits, and so does the source of the rows."""


class EncoderLostError(Exception):
    """The encoder process ended before its file: killed, out of memory, or a defect; stderr has more."""


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
        child = await _start()
        target, source = cast("StreamWriter", child.stdin), cast("StreamReader", child.stdout)
        feeding = asyncio.create_task(_feed(target, json.dumps(order).encode(), chunks))
        try:
            async for piece in _pieces(source, progress):
                yield piece
        except asyncio.IncompleteReadError as error:
            # The source's failure ends the encoder, so it comes first.
            await feeding
            raise EncoderLostError("the encoder ended before its file") from error
        finally:
            await _end(child, feeding)


async def _start() -> Process:
    # Nothing of this process's environment: there is a secret's path in it, and nothing the encoder needs.
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.files.exports.encoder"),
        stdin=PIPE,
        stdout=PIPE,
        env=environment,
        limit=PIPE_BYTES_MAX,
        start_new_session=True,  # a Ctrl-C is for the process that drains, not for its encoders
    )


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
    finally:
        encoder.close()


async def _pieces(encoder: StreamReader, progress: Progress) -> AsyncIterator[bytes]:
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


async def _end(child: Process, feeding: "asyncio.Task[None]") -> None:
    feeding.cancel()
    await asyncio.wait({feeding})
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    await child.wait()
