"""Drops privileges, ties itself to its parent, then becomes another program.

Runs as `python -I -S trampoline.py PARENT SIGNAL UID GID PROGRAM ARG...`.

A program of its own because the code between fork and exec would otherwise run inside a process with threads. Standard
library only, and nothing of ours: it runs without site-packages.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Exit code 125 when the parent is gone already, 126 when the program cannot be started (as shells say it)."""
    parent, death_signal, uid, gid = (int(argument) for argument in sys.argv[1:5])
    program = sys.argv[5:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    # After the change of user, which clears it; the kernel then signals us when the launcher's main thread ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(125)
    # What Python ignores at its start, a program must not inherit ignored.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execv(program[0], program)  # noqa: S606 - a shell is what this must not be
    except OSError as error:
        sys.stderr.write(f"cannot start {program[0]}: {error.strerror}\n")
        sys.exit(126)


if __name__ == "__main__":
    main()
