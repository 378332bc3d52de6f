"""The life of a process: start on uvloop, end in order on a signal, and tell the supervisor by the exit code how
it went.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import uvloop

from breakwater.chassis import metrics
from breakwater.chassis.logging import get_logger
from breakwater.chassis.settings import MisconfiguredError
from breakwater.resilience.errors import InvalidPolicyError

EXIT_FAILED = 1
EXIT_MISCONFIGURED = 2

_log = get_logger(__name__)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
    """Runs a process's `main` to its end and exits: 0 after a drain, 1 after a failure, 2 for wrong settings, keys
    or policies.
    """
    metrics.add_process_collectors()
    # gRPC's core writes lines of its own format to standard error, among them every GOAWAY of a drain.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        uvloop.run(main())
    except (MisconfiguredError, InvalidPolicyError) as error:
        sys.stderr.write(f"The process cannot start: {error}\n")
        raise SystemExit(EXIT_MISCONFIGURED) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:  # noqa: BLE001 - the last line of defence: logged, and the supervisor restarts us
        _log.critical("process_failed", exc_info=error)
        raise SystemExit(EXIT_FAILED) from None
    raise SystemExit(0)


class StopSignal:
    """SIGTERM or SIGINT ask for a drain; a second one no longer waits for it."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def listen(self) -> None:
        """Takes the signals of the running loop over. Does nothing outside of the main thread, as in tests."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self.ask, number)
            except (ValueError, RuntimeError):
                return

    def unlisten(self) -> None:
        """Gives the signals back."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.remove_signal_handler(number)
            except (ValueError, RuntimeError):
                return

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Asks for the drain, as a signal does."""
        if self._asked.is_set():
            _log.warning("stopped_without_drain", signal=number)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._asked.set()

    async def wait(self) -> None:
        """Returns once a drain was asked for."""
        await self._asked.wait()
