"""Becomes a program whose system calls are supervised: ``launch SOCKET PROGRAM ARGUMENT...``. See ``supervised``.

Runs in the child before the program itself does; its one promise is that the program never runs unsupervised.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from benchmarks.faults.calls import SECCOMP_NUMBER, filter_program

REFUSED = 97
"""Exit code where the kernel does not allow it."""
_NO_NEW_PRIVILEGES, _SET_FILTER, _NEW_LISTENER = 38, 1, 8  # linux/prctl.h, linux/seccomp.h


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def main(arguments: Sequence[str]) -> NoReturn:
    """Install the filter, hand its listener over, and become the program."""
    handle, *command = arguments
    try:
        listener = _install(filter_program(platform.machine()))
    except OSError as error:
        sys.stderr.write(f"launch: a seccomp filter cannot be installed ({error.strerror})\n")
        sys.exit(REFUSED)
    with socket.socket(fileno=int(handle)) as supervisor:
        socket.send_fds(supervisor, [b"."], [listener])  # sendmsg, which the filter lets through
    os.close(listener)
    os.execv(command[0], command)  # noqa: S606


def _install(program: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    steps = _Program(len(program) // 8, program)
    listener = -1
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        number = SECCOMP_NUMBER[platform.machine()]
        listener = libc.syscall(number, _SET_FILTER, _NEW_LISTENER, ctypes.byref(steps))
    if listener < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(listener)


if __name__ == "__main__":
    main(sys.argv[1:])
