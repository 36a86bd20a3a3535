"""What a system call is about to do to a watched folder, or to say to somebody: read from the program that makes it.

Reads ``/proc`` of a program that waits; changes nothing. SQLite's ``-shm`` files are left out: they are memory, mapped
and made anew after a crash.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.faults.calls import RawCall

Kind = Literal[
    "create", "write", "truncate", "rename", "unlink", "rmdir", "mkdir", "symlink", "sync", "send", "show", "other"
]
TAKES_SPACE: frozenset[Kind] = frozenset({"create", "write", "rename", "mkdir", "symlink", "sync"})
"""What a full disk may refuse; ``sync``, as some file systems find the room only then."""
_HERE = -100  # AT_FDCWD
_REMOVE_FOLDER = 0x200  # AT_REMOVEDIR
_LONGEST_PATH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One step. Paths are relative to the watched folder; what a kind does not need is empty.

    Attributes:
        kind: ``send`` goes out of a socket, ``show`` to standard output or error; ``other`` changes the folder in a way
            that nothing here understands.
        path: what it acts on.
        target: new name of a ``rename``; what a ``symlink`` says.
        offset: where a ``write`` begins, bytes.
        data: of a ``write`` or ``show``, where it was asked for.
        size: of a ``write``, ``send`` or ``truncate``, bytes.
        mode: permissions of what is made.
        truncates: a ``create`` that empties the file if it is there.
    """

    kind: Kind
    path: str = ""
    target: str = ""
    offset: int = 0
    data: bytes = b""
    size: int = 0
    mode: int = 0o644
    truncates: bool = False


def operation_of(call: RawCall, folder: Path, *, with_data: bool = False) -> Operation | None:
    """Describe a call; ``None`` where it concerns neither the folder nor anybody outside.

    Raises:
        OSError: the program has gone meanwhile.
    """
    found = _described(call, folder, with_data=with_data)
    return None if found is None or found.path.endswith("-shm") else found


def _described(call: RawCall, folder: Path, *, with_data: bool) -> Operation | None:
    name, arguments = call.name, call.arguments
    if name in ("write", "pwrite64", "sendto", "fsync", "fdatasync", "ftruncate"):
        return _on_handle(call, folder, with_data=with_data)
    if name in ("writev", "pwritev", "fallocate", "sendfile", "copy_file_range"):
        handle = arguments[2] if name == "copy_file_range" else arguments[0]
        path = _within(_handle(call.thread, handle), folder)
        return None if path is None else Operation(kind="other", path=path)
    return _on_path(call, folder)


def _on_handle(call: RawCall, folder: Path, *, with_data: bool) -> Operation | None:
    name, (handle, address, length, offset, *_) = call.name, call.arguments
    place = _handle(call.thread, handle)
    if place.startswith("socket:"):
        return Operation(kind="send", size=length)
    path = _within(place, folder)
    if path is None:
        if name == "write" and handle in (1, 2) and not place.startswith("pipe:"):
            return Operation(kind="show", data=_memory(call.thread, address, length) if with_data else b"")
        return None
    if name in ("fsync", "fdatasync"):
        return Operation(kind="sync", path=path)
    if name == "ftruncate":
        return Operation(kind="truncate", path=path, size=address)
    data = _memory(call.thread, address, length) if with_data else b""
    if name == "write":
        offset = _position(call.thread, handle)
    return Operation(kind="write", path=path, offset=offset, size=length, data=data)


def _on_path(call: RawCall, folder: Path) -> Operation | None:
    name, thread, arguments = call.name, call.thread, list(call.arguments)
    if name in ("truncate", "link", "linkat"):
        text = _text(thread, arguments[{"truncate": 0, "link": 1, "linkat": 3}[name]])
        path = _within(_absolute(thread, _HERE, text), folder)
        return None if path is None else Operation(kind="other", path=path)
    if name.startswith("symlink"):
        above, place = (_HERE, arguments[1]) if name == "symlink" else arguments[1:3]
        path = _within(_absolute(thread, above, _text(thread, place)), folder)
        says = _text(thread, arguments[0])
        return None if path is None else Operation(kind="symlink", path=path, target=says)
    if name in ("open", "mkdir", "rmdir", "unlink"):  # as if it were the call that names a folder first
        arguments = [_HERE, *arguments]
    elif name == "rename":
        arguments = [_HERE, arguments[0], _HERE, arguments[1]]
    path = _within(_absolute(thread, arguments[0], _text(thread, arguments[1])), folder)
    if name.startswith("rename"):
        target = _within(_absolute(thread, arguments[2], _text(thread, arguments[3])), folder)
        if path is None or target is None:
            return None if path is None and target is None else Operation(kind="other", path=path or target or "")
        return Operation(kind="rename", path=path, target=target)
    if path is None:
        return None
    if name.startswith("open"):
        flags, mode = arguments[2], arguments[3]
        return Operation(kind="create", path=path, mode=mode & 0o777, truncates=bool(flags & os.O_TRUNC))
    if name.startswith("mkdir"):
        return Operation(kind="mkdir", path=path, mode=arguments[2] & 0o777)
    removes_folder = name == "rmdir" or (name == "unlinkat" and bool(arguments[2] & _REMOVE_FOLDER))
    return Operation(kind="rmdir" if removes_folder else "unlink", path=path)


def _absolute(thread: int, handle: int, path: str) -> str:
    if path.startswith("/"):
        return path
    number = handle & 0xFFFFFFFF  # an int of 32 bits in a register of 64
    above = f"/proc/{thread}/cwd" if number == _HERE & 0xFFFFFFFF else f"/proc/{thread}/fd/{number}"
    return f"{Path(above).readlink()}/{path}"


def _handle(thread: int, handle: int) -> str:
    try:
        return str(Path(f"/proc/{thread}/fd/{handle}").readlink())
    except FileNotFoundError:  # closed already, and the call will say so
        return ""


def _within(path: str, folder: Path) -> str | None:
    """Return ``path`` relative to the folder; ``None`` outside, and for a file that has no name any more."""
    root = str(folder)
    if path.endswith(" (deleted)") or (path != root and not path.startswith(f"{root}/")):
        return None
    return os.path.normpath(path[len(root) + 1 :] or ".")


def _position(thread: int, handle: int) -> int:
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{thread}/fdinfo/{handle}").read_text("ascii").splitlines()
    )
    if int(fields["flags"], 8) & os.O_APPEND:
        return Path(f"/proc/{thread}/fd/{handle}").stat()[stat.ST_SIZE]
    return int(fields["pos"])


def _memory(thread: int, address: int, length: int) -> bytes:
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY)
    try:
        return os.pread(memory, length, address)
    finally:
        os.close(memory)


def _text(thread: int, address: int) -> str:
    raw = b""
    while b"\0" not in raw and len(raw) < _LONGEST_PATH:  # up to the end of a page: the next may not be there
        raw += _memory(thread, address + len(raw), 256 - (address + len(raw)) % 256)
    return os.fsdecode(raw.partition(b"\0")[0])
