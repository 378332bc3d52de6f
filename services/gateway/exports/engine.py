"""Runs the local export engine: a bounded child process, fed with rows from leads as fast as it takes them."""

import asyncio
import json
import math
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

import breakwater
import services
from breakwater.chassis.errors import (
    BreakwaterError,
    DeadlineExceededError,
    InternalError,
    PayloadTooLargeError,
    UnavailableError,
)
from breakwater.chassis.logging import get_logger
from services.gateway.exports.domain import Column, Export, File, chosen_columns, missing_columns
from services.gateway.exports.scratch import Scratch

_MODULE = "services.gateway.exports.local_engine"
_ANSWER_SIZE_BYTES_MAX = 16 * 1024
_DATASET_TITLES = {"leads": "线索", "customers": "客户", "assignments": "分配记录"}
_log = get_logger(__name__)


class Rows(Protocol):
    """Where rows come from. Raises `BreakwaterError`."""

    async def columns(self, export: Export) -> Sequence[Column]:
        """The columns of the full file."""
        ...

    def base_rows(self, export: Export) -> AsyncGenerator[Any, None]:
        """The base columns first, then chunks of rows of theirs, in canonical text."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one child, and all of them together, may take."""

    processes_max: int
    timeout_s: float
    memory_bytes_max: int
    rows_max: int
    file_size_bytes_max: int


class ChildEngine:
    """The port of the use cases."""

    def __init__(self, rows: Rows, scratch: Scratch, limits: EngineLimits) -> None:
        self._rows = rows
        self._scratch = scratch
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.processes_max)

    async def make(self, export: Export, reason: str, now: datetime) -> tuple[File, tuple[str, ...]]:
        """The file with the base columns, and the names of those it lacks. Raises `BreakwaterError`."""
        async with self._slots:
            self._scratch.make_room(now)
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    return await self._run(export, reason, now)
            except TimeoutError:
                raise DeadlineExceededError("the local engine did not finish in time") from None

    async def _run(self, export: Export, reason: str, now: datetime) -> tuple[File, tuple[str, ...]]:
        # The child starts while leads is asked: on a busy machine that is half of the time.
        process = await _start()
        try:
            full = export.spec.fields or tuple(column.name for column in await self._rows.columns(export))
            async with aclosing(self._rows.base_rows(export)) as rows:
                base = await anext(rows)
                places = chosen_columns(export.spec.fields, tuple(column.name for column in base))
                columns = [base[place] for place in places]
                missing = missing_columns(full, tuple(column.name for column in columns))
                answer = asyncio.create_task(_read(process))
                await self._feed(process, self._order(export, columns, missing, reason, now), rows, places, len(base))
            return _file(await answer), missing
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _feed(
        self,
        process: asyncio.subprocess.Process,
        order: dict[str, Any],
        rows: AsyncIterator[Any],
        places: tuple[int, ...],
        width: int,
    ) -> None:
        child = process.stdin
        if child is None:
            raise InternalError("the local engine has no input")
        whole = places == tuple(range(width))
        try:
            child.write(msgspec.json.encode(order) + b"\n")
            async for chunk in rows:
                cells = chunk if whole else [[row[place] for place in places] for row in chunk]
                child.write(msgspec.json.encode(cells) + b"\n")
                await child.drain()
            child.write(b'{"end":true}\n')
            await child.drain()
            child.close()
        except (BrokenPipeError, ConnectionResetError):
            # The child ended before its input did: what it says on its output tells why.
            return

    def _order(
        self, export: Export, columns: Sequence[Column], missing: tuple[str, ...], reason: str, now: datetime
    ) -> dict[str, Any]:
        spec, limits = export.spec, self._limits
        return {
            "format": spec.format,
            "path": str(self._scratch.path(export.id, spec.format)),
            "sheet_title": _DATASET_TITLES.get(spec.dataset, spec.dataset),
            "columns": [[column.name, column.title, column.kind.value] for column in columns],
            "note": {
                "headline": "降级导出：本文件只含基础字段",
                "rows": [
                    ["原因", f"文件服务（files）不可用：{reason}"],
                    ["缺少的字段", "、".join(missing) or "无"],
                    ["生成者", "网关的本地轻量级导出引擎"],
                    ["生成时间", now.isoformat(timespec="seconds")],
                    ["完整文件", "文件服务恢复后自动生成，并通知申请人"],
                    ["导出编号", export.id],
                ],
            },
            "limits": {
                "memory_bytes_max": limits.memory_bytes_max,
                "cpu_s_max": math.ceil(limits.timeout_s),
                "file_size_bytes_max": limits.file_size_bytes_max,
                "rows_max": limits.rows_max,
            },
        }


async def _start() -> asyncio.subprocess.Process:
    # Only what it needs: our own code by path, no site packages, nothing of this process's environment.
    roots = (Path(module.__path__[0]).parent for module in (breakwater, services))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-S", "-P", "-X", "utf8", "-m", _MODULE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(map(str, roots)), "PYTHONDONTWRITEBYTECODE": "1"},
        # Ctrl-C is for the gateway, which drains; its end, however it comes, ends the child's input.
        start_new_session=True,
    )


async def _read(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        raise InternalError("the local engine has no output")
    return await process.stdout.read(_ANSWER_SIZE_BYTES_MAX)


def _file(output: bytes) -> File:
    try:
        said = json.loads(output)
    except ValueError:
        # Killed by a limit, or a defect: its own words are on standard error.
        _log.error("local_engine_died", output=output[:200].decode(errors="replace"))
        raise UnavailableError("the local engine ended early", code="local_engine_failed") from None
    if "code" in said:
        raise _error(said["code"], said["detail"])
    return File(said["rows"], said["size_bytes"], said["sha256"])


def _error(code: str, detail: str) -> BreakwaterError:
    return PayloadTooLargeError(detail) if code == "payload_too_large" else UnavailableError(detail, code=code)
