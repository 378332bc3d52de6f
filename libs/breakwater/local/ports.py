"""Ports on the loopback address: found free, or checked to be."""

import random
import socket
from collections.abc import Collection
from pathlib import Path

from breakwater.local.errors import PortInUseError

HOST = "127.0.0.1"
PORT_MIN = 10_000
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL_MIN_DEFAULT = 32_768
ATTEMPTS_MAX = 1_000


def is_free(port: int) -> bool:
    """Whether a server could listen on it now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        # As servers do: the TIME_WAIT remains of an earlier server do not count as taken.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = ()) -> int:
    """A free port not in `taken`. Raises PortInUseError when none is found.

    Below the range of outgoing connections: a port from within it can be taken by any connection while its server is
    restarted, even by a client connecting to itself.
    """
    generator = random.SystemRandom()
    for _ in range(ATTEMPTS_MAX):
        port = generator.randrange(PORT_MIN, max(_ephemeral_min(), PORT_MIN + ATTEMPTS_MAX))
        if port not in taken and is_free(port):
            return port
    raise PortInUseError("No free port was found on 127.0.0.1.")


def require_free(port: int, name: str) -> None:
    """Raises PortInUseError naming `name` when the port is taken."""
    if not is_free(port):
        raise PortInUseError(f"Port {port} for {name} is in use: free it, or start with `--ports auto`.")


def _ephemeral_min() -> int:
    try:
        return int(EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return EPHEMERAL_MIN_DEFAULT
