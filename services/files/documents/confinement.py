"""What a process that renders documents may do: nothing but compute. Held by the kernel, not by our own care."""

import ctypes
import platform
import resource
import struct
import sys
from typing import Final

from services.files.documents.domain import DocumentLimits

_OPEN_FILES_MAX: Final = 128
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IS_EQUAL, _IS_NOT_LESS, _RETURN = 0x20, 0x15, 0x35, 0x06  # of classic BPF, with constants
_ALLOW, _REFUSE, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_EPERM = 1
_X32 = 0x4000_0000
_MACHINES: Final = {
    # Audit name of the architecture; socket, socketpair, io_uring_setup, execve, execveat (linux/audit.h, unistd.h).
    "x86_64": (0xC000_003E, (41, 53, 425, 59, 322)),
    "aarch64": (0xC000_00B7, (198, 199, 425, 221, 281)),
}


def confine(limits: DocumentLimits) -> None:
    """From here on: bounded memory and CPU time, no file written, no socket opened, no program started.

    Where the kernel is not Linux on one of the usual machines only the first three are held. Raises OSError when the
    kernel refuses.
    """
    for kind, soft, hard in (
        # What it may fill, not what it may reserve.
        (resource.RLIMIT_DATA, limits.memory_bytes_max, limits.memory_bytes_max),
        # The first ends it by SIGXCPU, which tells why; the second by SIGKILL.
        (resource.RLIMIT_CPU, limits.cpu_s_max, limits.cpu_s_max + 1),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES_MAX, _OPEN_FILES_MAX),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))
    if sys.platform == "linux" and platform.machine() in _MACHINES:
        _refuse_calls(*_MACHINES[platform.machine()])


def _refuse_calls(architecture: int, calls: tuple[int, ...]) -> None:
    # seccomp(2): the filter sees the architecture at 4 and the number of the call at 0; jumps count instructions.
    refuse_after = [(_IS_EQUAL, len(calls) - place, 0, number) for place, number in enumerate(calls)]
    program = [
        (_LOAD, 0, 0, 4),
        (_IS_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        # The other numbering of calls that x86 has.
        (_IS_NOT_LESS, len(calls) + 1, 0, _X32),
        *refuse_after,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
    ]
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    filter_ = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(buffer := ctypes.create_string_buffer(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER, filter_, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter of calls")
    del buffer
