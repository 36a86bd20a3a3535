"""Which system calls change a disk or tell somebody something, and the seccomp filter that hands them to a supervisor.

Numbers and bytes only; installs nothing. A supervised program waits at the entry of each such call, whatever thread
makes it, until ``benchmarks.faults.supervised`` has answered: so "the Nth call" means the same for a whole process.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.contracts.errors import Unsupported

_ANYWHERE = (
    # name, number on x86_64, number on aarch64 (None: it has none)
    ("write", 1, 64),
    ("pwrite64", 18, 68),
    ("fsync", 74, 82),
    ("fdatasync", 75, 83),
    ("ftruncate", 77, 46),
    ("sendto", 44, 206),
    ("rename", 82, None),
    ("renameat", 264, 38),
    ("renameat2", 316, 276),
    ("mkdir", 83, None),
    ("mkdirat", 258, 34),
    ("rmdir", 84, None),
    ("unlink", 87, None),
    ("unlinkat", 263, 35),
    ("open", 2, None),
    ("openat", 257, 56),
    ("symlink", 88, None),
    ("symlinkat", 266, 36),
    # Nothing of ours makes these; a program that did would be told of, not overlooked.
    ("writev", 20, 66),
    ("pwritev", 296, 70),
    ("truncate", 76, 45),
    ("fallocate", 285, 47),
    ("sendfile", 40, 71),
    ("copy_file_range", 326, 285),
    ("link", 86, None),
    ("linkat", 265, 37),
)
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machine to its AUDIT_ARCH of linux/audit.h."""
SECCOMP_NUMBER = {"x86_64": 317, "aarch64": 277}

# linux/seccomp.h
RECEIVE, ANSWER, IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
LET_GO = 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
NOTIFICATION_BYTES = _NOTIFICATION.size

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # of 32 bits each, linux/bpf_common.h
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCall:
    """One system call at its entry: a cookie for the answer, the thread that makes it, its name and arguments."""

    cookie: int
    thread: int
    name: str
    arguments: tuple[int, ...]


def numbers(machine: str) -> Mapping[int, str]:
    """Return the watched calls of a machine, by number.

    Raises:
        Unsupported: their numbers are not known here.
    """
    if machine not in MACHINES:
        raise Unsupported(f"{machine}: expected a machine whose system calls are known ({', '.join(MACHINES)})")
    column = 1 if machine == "x86_64" else 2
    found: dict[int, str] = {}
    for row in _ANYWHERE:
        number = row[column]
        if isinstance(number, int):
            found[number] = str(row[0])
    return found


def filter_program(machine: str) -> bytes:
    """Return the BPF program: watched calls are handed over, of opens only those that create or truncate."""
    steps: list[tuple[int, int, int, int]] = [  # code, jump if true, jump if false, operand
        (_LOAD, 0, 0, _MACHINE_AT),
        (_EQUAL, 1, 0, MACHINES[machine]),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for number, name in numbers(machine).items():
        if name in ("open", "openat"):
            flags_at = _ARGUMENTS_AT + 8 * (1 if name == "open" else 2)
            steps += [
                (_EQUAL, 0, 4, number),
                (_LOAD, 0, 0, flags_at),
                (_ANY_BIT, 0, 1, os.O_CREAT | os.O_TRUNC),
                (_RETURN, 0, 0, _NOTIFY),
                (_RETURN, 0, 0, _ALLOW),
            ]
        else:
            steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _NOTIFY)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def read_notification(raw: bytes, names: Mapping[int, str]) -> RawCall:
    """Decode what the kernel hands over."""
    cookie, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(raw)
    return RawCall(cookie=cookie, thread=thread, name=names[number], arguments=tuple(arguments))


def answer(cookie: int, error: int) -> bytes:
    """Return the answer to a call: it goes on where ``error`` is 0, else it fails with that errno, undone."""
    return _ANSWER.pack(cookie, 0, -error, 0 if error else LET_GO)
