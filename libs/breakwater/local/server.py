"""What the two embedded servers share: prepared once, then started and stopped any number of times."""

import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from breakwater.local.directories import DataDirectory
from breakwater.local.errors import ServerStartError
from breakwater.local.ports import HOST, require_free
from breakwater.local.programs import Program

READY_POLL_S = 0.02
LOG_TAIL_BYTES = 4_096


class EmbeddedServer(ABC):
    """One server over one data directory.

    The supervisor uses `prepare`, `program` and `is_ready` and watches the process itself; tests use `start`, `stop`
    and `kill`. `log_file` None lets the server write to our standard error.
    """

    name: str

    def __init__(self, directory: Path, port: int, log_file: Path | None) -> None:
        self.directory = directory
        self.host = HOST
        self.port = port
        self.log_file = log_file
        self._data: DataDirectory | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Everything that must be there before a start. Blocks up to some seconds; does nothing the second time."""

    @abstractmethod
    def program(self) -> Program:
        """The server's program, after `prepare`."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers on its port as its protocol says. Blocks for at most a second."""

    @property
    def pid(self) -> int | None:
        """The process started by `start`, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, timeout_s: float = 30.0) -> None:
        """Starts and returns when it is ready. Raises ServerStartError with the end of the log when it is not."""
        self.prepare()
        require_free(self.port, self.name)
        if self.log_file is None:
            self._process = self.program().spawn()
        else:
            with self.log_file.open("ab") as log:
                self._process = self.program().spawn(log.fileno())
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if self._process.poll() is not None:
                code, self._process = self._process.returncode, None
                raise ServerStartError(f"{self.name} ended with {code}: {self._log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerStartError(f"{self.name} was not ready within {timeout_s:.0f} s: {self._log_tail()}")
            time.sleep(READY_POLL_S)

    def stop(self, timeout_s: float = 15.0) -> None:
        """Stops in good order; kills what has not ended after `timeout_s` seconds."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self.program().stop_signal)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Kills at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stops and lets go of the data directory."""
        self.stop()
        if self._data is not None:
            self._data.close()
            self._data = None

    def _log_tail(self) -> str:
        if self.log_file is None or not self.log_file.exists():
            return "see its log above"
        return self.log_file.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
