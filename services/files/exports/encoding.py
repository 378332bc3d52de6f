"""Files are encoded by a child process for each; this is its other end, inside the event loop."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, InvalidRequestError, PayloadTooLargeError
from services.files.documents.domain import DocumentLimits, Stamp
from services.files.exports.domain import DATASETS, FILTER_TITLES, RENEWALS, TIMELINESS, Format, Job, Progress, Spec
from services.files.exports.frames import HEADER, PROGRESS, Kind, frame

READ_AHEAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""Content read ahead of the object store; beyond it the encoder waits, and so does the source of the rows."""

NICENESS: Final = 5
"""Of an encoder beside this process: requests are answered before files are made, which begins with loading the encoder."""

REPORT_TEMPLATE: Final = "report"
RENEWAL_TEMPLATE: Final = "renewal"
BOARD_TEMPLATE: Final = "board"

_COMMAND: Final = (sys.executable, "-m", "services.files.exports.encoder")


class EncoderLostError(Exception):
    """The encoder process ended before its file: killed, out of memory, or a defect; its stderr has more."""


class ProcessEncoder:
    """Starts `services.files.exports.encoder` for each file.

    `zone` is an IANA name. `spool_dir` is where an encrypted file waits for its end, as far as `size_bytes_max`.
    """

    def __init__(
        self,
        *,
        zone: str,
        memory_bytes_max: int,
        size_bytes_max: int = 2 * 1024**3,
        clock: Clock,
        spool_dir: Path | None = None,
        documents: DocumentLimits | None = None,
    ) -> None:
        self._zone = zone
        self._memory_bytes_max = memory_bytes_max
        self._size_bytes_max = size_bytes_max
        self._spool_dir = spool_dir
        self._clock = clock
        self._documents = documents or DocumentLimits()

    async def encode(
        self, job: Job, chunks: AsyncIterator[bytes], progress: Progress, password: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The file, piece by piece, as fast as both ends allow. What `chunks` raises is raised here.

        The password reaches the encoder by its order alone: neither its command line nor its environment has it.

        Raises PayloadTooLargeError when the rows do not fit such a file, InvalidRequestError when there is no such
        template, EncoderLostError.
        """
        order: dict[str, Any] = {
            "format": job.spec.format,
            "title": DATASETS[job.spec.dataset],
            "zone": self._zone,
            "memory_bytes_max": self._memory_bytes_max,
            "size_bytes_max": self._size_bytes_max,
            "spool_dir": str(self._spool_dir) if self._spool_dir else None,
            "password": password,
        }
        if job.spec.format == Format.PDF:
            order |= {"memory_bytes_max": self._documents.memory_bytes_max, "document": self._document(job)}
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
                raise await self._lost(job, process) from error
            finally:
                feeding.cancel()
                await asyncio.wait({feeding})
                target.close()
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)

    def _document(self, job: Job) -> dict[str, Any]:
        spec, zone = job.spec, ZoneInfo(self._zone)
        filters = "，".join(f"{FILTER_TITLES[name]} = {value}" for name, value in spec.filter.items())
        return {
            "template": _template_of(spec),
            "version": spec.template_version,
            # Not now: the attempt that takes over from a lost one makes the same document of the same data.
            "created_at": job.requested_at.replace(microsecond=0).isoformat(),
            "letter": asdict(spec.letter) if spec.letter else None,
            "facts": [
                ("数据截至", f"{self._clock.now().astimezone(zone):%Y-%m-%d %H:%M}（{self._zone}）"),
                ("筛选", filters or "无"),
                ("申请人", job.actor.sub),
            ],
            "limits": asdict(self._documents),
        }

    async def _lost(self, job: Job, process: "subprocess.Popen[bytes]") -> Exception:
        # It ended, or its socket would not have: a moment at most.
        ended_by = await asyncio.to_thread(process.wait)
        # The kernel ends a renderer past its seconds; typst ends itself when it is given no more memory.
        if job.spec.format == Format.PDF and ended_by in {-signal.SIGXCPU, -signal.SIGABRT}:
            limits = self._documents
            return PayloadTooLargeError(
                f"A PDF takes at most {limits.cpu_s_max} s of computing and {limits.memory_bytes_max // 1024**2} MiB of memory;"
                " narrow the filter, or ask for xlsx.",
                code="file_full",
            )
        return EncoderLostError(f"the encoder ended with {ended_by}")


def _template_of(spec: Spec) -> str:
    if spec.dataset == RENEWALS:
        return RENEWAL_TEMPLATE
    # The board's page knows its base columns; chosen ones are a table.
    return BOARD_TEMPLATE if spec.dataset == TIMELINESS and not spec.fields else REPORT_TEMPLATE


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
    os.setpriority(os.PRIO_PROCESS, process.pid, min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS))
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
            case Kind.DOCUMENT:
                progress.document = Stamp(**json.loads(content))
            case Kind.REFUSED:
                raise _refusal(**json.loads(content))
            case Kind.DEFECT:
                raise EncoderLostError(content.decode())
            case _:
                return


def _refusal(code: str, detail: str) -> BreakwaterError:
    return InvalidRequestError(detail) if code == "invalid_request" else PayloadTooLargeError(detail, code=code)
