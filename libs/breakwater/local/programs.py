"""A program and how to start it: unprivileged, in a session of its own, and never outliving its launcher."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from breakwater.local.errors import LocalPlatformError

TRAMPOLINE = Path(__file__).with_name("trampoline.py")


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group a program runs as, without any further group."""

    uid: int
    gid: int


def unprivileged_account() -> Account:
    """The account servers run as when we are root.

    `nobody`, because initdb needs an entry in the password database and this one is everywhere.
    """
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise LocalPlatformError(
            "PostgreSQL refuses to run as root and this machine has no user `nobody`: start as a plain user."
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `account` None means ours; `fds` stay open in the program under the same numbers."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    account: Account | None = None
    fds: tuple[int, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    directory: str = field(default="/")

    def command(self) -> list[str]:
        """The full command line, through the trampoline. Valid for the calling process as parent only."""
        uid, gid = (self.account.uid, self.account.gid) if self.account else (-1, -1)
        tie = [str(os.getpid()), str(int(self.orphan_signal)), str(uid), str(gid)]
        return [sys.executable, "-I", "-S", str(TRAMPOLINE), *tie, *self.argv]

    def spawn(self, output: IO[bytes] | int | None = None) -> subprocess.Popen[bytes]:
        """Starts it. Call from the main thread: the program ends when the thread that started it ends."""
        return subprocess.Popen(  # noqa: S603 - the argv is ours
            self.command(),
            env=dict(self.env),
            pass_fds=self.fds,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            start_new_session=True,
        )

    def run(self, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Runs it to its end and returns what it printed."""
        return subprocess.run(  # noqa: S603 - the argv is ours
            self.command(),
            env=dict(self.env),
            pass_fds=self.fds,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            timeout=timeout_s,
            check=False,
            text=True,
            errors="replace",
        )
