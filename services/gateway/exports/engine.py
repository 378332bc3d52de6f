"""Runs the local export engine: a bounded child process, fed with rows from leads as fast as it takes them."""

import asyncio
import json
import math
import os
import socket
import subprocess
import sys
from asyncio import StreamWriter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import cryptography
import msgspec

import breakwater
import services
from breakwater.chassis.errors import (
    BreakwaterError,
    ConflictError,
    DeadlineExceededError,
    PayloadTooLargeError,
    UnavailableError,
)
from breakwater.chassis.logging import get_logger
from services.gateway.exports.domain import PASSWORD_LOST, Column, Export, File, Made, chosen_columns, missing_of
from services.gateway.exports.scratch import Scratch

# Our own code by path and nothing else: no site packages, nothing of this process's environment.
_COMMAND = (sys.executable, "-S", "-P", "-X", "utf8", "-m", "services.gateway.exports.local_engine")
_ANSWER_SIZE_BYTES_MAX = 16 * 1024
_DATASET_TITLES = {
    "leads": "线索",
    "customers": "客户",
    "assignments": "分配记录",
    "renewals": "续费客户",
    "lead-timeliness": "线索时效看板",
    "personal-board": "个人看板",
}
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before rows: the base columns, and the time of the rows where they are kept ones."""

    columns: Sequence[Column]
    as_of: datetime | None = None


class Rows(Protocol):
    """Where rows come from. Raises `BreakwaterError`."""

    async def columns(self, export: Export) -> Sequence[Column]:
        """The columns of the full file."""
        ...

    def base_rows(self, export: Export) -> AsyncGenerator[Any, None]:
        """A `Head` first, then chunks of rows of its columns, in canonical text."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one child, and all of them together, may take."""

    processes_max: int
    timeout_s: float
    memory_bytes_max: int
    rows_max: int
    file_size_bytes_max: int


class Seals(Protocol):
    """What opens a password that was sealed for a job."""

    def open(self, sealed: bytes, bound_to: str) -> str | None:
        """None when it cannot be opened any more."""
        ...


class ChildEngine:
    """The port of the use cases."""

    def __init__(self, rows: Rows, scratch: Scratch, seals: Seals, limits: EngineLimits) -> None:
        self._seals = seals
        self._rows = rows
        self._scratch = scratch
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.processes_max)

    async def make(self, export: Export, reason: str, now: datetime) -> Made:
        """The file with the base columns. Raises `BreakwaterError`."""
        async with self._slots:
            self._scratch.make_room(now)
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    return await self._run(export, reason, now)
            except TimeoutError:
                raise DeadlineExceededError("the local engine did not finish in time") from None

    async def _run(self, export: Export, reason: str, now: datetime) -> Made:
        password = self._password(export)
        # The child starts while leads is asked: on a busy machine that is half of the time.
        process, ours = _start(encrypts=export.spec.encrypted)
        try:
            _, child = await asyncio.open_unix_connection(sock=ours)
            try:
                missing, as_of = await self._feed(child, export, password, reason, now)
                return Made(_file(await asyncio.to_thread(_output, process)), missing, as_of)
            finally:
                child.close()
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)
            _close(process)

    def _password(self, export: Export) -> str | None:
        if not export.spec.encrypted:
            return None
        password = self._seals.open(export.sealed_password or b"", export.job_id)
        if password is None:
            raise ConflictError("the password of this export can no longer be opened", code=PASSWORD_LOST)
        return password

    async def _feed(
        self, child: StreamWriter, export: Export, password: str | None, reason: str, now: datetime
    ) -> tuple[tuple[str, ...], datetime | None]:
        full = export.spec.fields
        if not full and export.spec.local_format == export.spec.format:
            full = tuple(column.name for column in await self._rows.columns(export))
        async with aclosing(self._rows.base_rows(export)) as rows:
            head: Head = await anext(rows)
            base = head.columns
            places = chosen_columns(export.spec.fields, tuple(column.name for column in base))
            columns = [base[place] for place in places]
            missing = missing_of(export.spec, full, tuple(column.name for column in columns))
            whole = len(places) == len(base)
            try:
                order = self._order(export, columns, missing, reason, now, password)
                if head.as_of is not None:
                    order["note"]["rows"].append(
                        ["数据时间", f"{head.as_of.isoformat(timespec='seconds')}（leads 也不可用）"]
                    )
                child.write(msgspec.json.encode(order) + b"\n")
                async for chunk in rows:
                    cells = chunk if whole else [[row[place] for place in places] for row in chunk]
                    child.write(msgspec.json.encode(cells) + b"\n")
                    await child.drain()
                child.write(b'{"end":true}\n')
                child.write_eof()
            except (ConnectionError, RuntimeError):
                # The child ended before its input did (uvloop says so by RuntimeError): its output tells why.
                _log.warning("local_engine_ended_early", export_id=export.id)
        return missing, head.as_of

    def _order(
        self,
        export: Export,
        columns: Sequence[Column],
        missing: tuple[str, ...],
        reason: str,
        now: datetime,
        password: str | None = None,
    ) -> dict[str, Any]:
        spec, limits = export.spec, self._limits
        return {
            "format": spec.local_format,
            "encoding": "gbk" if spec.gbk else "utf-8",
            "password": password,
            "path": str(self._scratch.path(export.id, spec.local_format)),
            "sheet_title": _DATASET_TITLES.get(spec.dataset, spec.dataset),
            "columns": [[column.name, column.title, column.kind.value] for column in columns],
            "note": {
                "headline": "降级导出：本文件只含基础字段",
                "rows": [
                    ["原因", f"文件服务（files）不可用：{reason}"],
                    ["缺少的内容", "、".join(missing) or "无"],
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


def _start(*, encrypts: bool = False) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    # Not by the event loop's own means: those fork, and gRPC's threads do not survive that; Popen uses vfork.
    # Encryption needs AES, which the standard library lacks: `cryptography` is here anyway, for the tokens.
    modules = (breakwater, services, *((cryptography,) if encrypts else ()))
    roots = (Path(module.__path__[0]).parent for module in modules)
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            _COMMAND,
            stdin=theirs.fileno(),
            # Not the same socket: a child that refuses leaves input unread, and its answer would be lost with it.
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(map(str, roots))},
            # Ctrl-C is for the gateway, which drains; its end, however it comes, ends the child's input.
            start_new_session=True,
        )
    return process, ours


def _output(process: "subprocess.Popen[bytes]") -> bytes:
    return process.stdout.read(_ANSWER_SIZE_BYTES_MAX) if process.stdout else b""


def _close(process: "subprocess.Popen[bytes]") -> None:
    if process.stdout:
        process.stdout.close()


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
