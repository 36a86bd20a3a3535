"""A disk as a power cut leaves it: what of a list of operations is sure to be there, and what may be. Opens no file.

Two rules, of which ``strict`` is harsher than any file system that journals:

- ``strict``: bytes are sure after a sync of their file, a name after a sync of its folder (a rename between folders
  after both); all else may be there or not, each step by itself.
- ``ext4``: any sync commits the journal, so it makes all names sure that came before it; of later ones, a first part
  may be there. Bytes are sure after a sync of their file only, as with delayed allocation.

Either way, a write that was not synced may be there up to any sector.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.faults.operations import Operation
from runtime.contracts.errors import Unsupported

Rule = Literal["strict", "ext4"]
RULES: tuple[Rule, ...] = ("strict", "ext4")
SECTOR_BYTES = 512
_TORN = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file with its bytes, a folder (``None``), or what a symbolic link says; and its permissions."""

    data: bytes | str | None
    mode: int


Tree = Mapping[str, Entry]
"""Path to what is there, folders before what they hold; without the root itself."""


@dataclass(slots=True)
class _State:
    """Folders as name to number, files as number to bytes. Number 0 is the root."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    files: dict[int, bytearray] = field(default_factory=dict)

    def copy(self) -> _State:
        return _State(
            {number: dict(names) for number, names in self.folders.items()},
            {number: bytearray(data) for number, data in self.files.items()},
        )


@dataclass(slots=True)
class _Names:
    """A step that sets or removes names, all or none; ``awaits`` holds the folders whose sync it still needs."""

    edits: tuple[tuple[int, str, int | None], ...]
    awaits: set[int]


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A step that changes a file; ``data`` of ``None`` sets its length to ``offset``."""

    file: int
    offset: int
    data: bytes | None


class Disk:
    """A folder on a disk, and every step towards what it is now. Feed it with ``do``."""

    def __init__(self, tree: Tree, rule: Rule) -> None:
        """Begin with ``tree``, all of it sure."""
        self._rule = rule
        self._live = _State()
        self._modes: dict[int, int] = {}
        self._says: dict[int, str] = {}
        self._folders = {0}
        self._count = 1
        self._pending: list[_Names | _Bytes] = []
        for path, entry in tree.items():
            number = self._new(entry)
            folder, name = self._place(path)
            self._live.folders[folder][name] = number
        self._sure = self._live.copy()

    def do(self, operation: Operation) -> None:
        """Do one step.

        Raises:
            Unsupported: the model does not know what it does.
        """
        kind, path = operation.kind, operation.path
        if kind in ("send", "show"):
            return
        if kind == "other":
            raise Unsupported(f"{path}: changed by a system call that the model of a disk does not know")
        if kind == "sync":
            self._sync(self._find(path))
        elif kind in ("write", "truncate"):
            data = operation.data if kind == "write" else None
            self._change(_Bytes(self._find(path), operation.offset if kind == "write" else operation.size, data))
        elif kind == "create":
            self._make(path, Entry(data=b"", mode=operation.mode & ~0o022), truncates=operation.truncates)
        elif kind == "mkdir":
            self._make(path, Entry(data=None, mode=operation.mode & ~0o022))
        elif kind == "symlink":
            self._make(path, Entry(data=operation.target, mode=0o777))
        elif kind == "rename":
            self._rename(path, operation.target)
        else:
            folder, name = self._place(path)
            if name in self._live.folders[folder]:
                self._change(_Names(((folder, name, None),), {folder}))

    def live(self) -> Tree:
        """Return what a program sees."""
        return self._tree(self._live)

    def least(self) -> Tree:
        """Return what is sure, and nothing else."""
        return self._tree(self._sure)

    def some(self, choose: random.Random) -> Tree:
        """Return what is sure, and some of what may be."""
        state = self._sure.copy()
        names = [step for step in self._pending if isinstance(step, _Names)]
        kept_names = choose.randint(0, len(names))
        for step in self._pending:
            if isinstance(step, _Names):
                first_part = kept_names > 0
                kept_names -= 1
                if first_part if self._rule == "ext4" else choose.random() < 0.5:
                    _apply(state, step)
            elif choose.random() < 0.5:
                _apply(state, _torn(step, choose) if choose.random() < _TORN else step)
        return self._tree(state)

    def _make(self, path: str, entry: Entry, *, truncates: bool = False) -> None:
        folder, name = self._place(path)
        there = self._live.folders[folder].get(name)
        if there is None:
            self._change(_Names(((folder, name, self._new(entry)),), {folder}))
        elif truncates:
            self._change(_Bytes(there, 0, None))

    def _rename(self, path: str, target: str) -> None:
        (source, old), (folder, new) = self._place(path), self._place(target)
        number = self._live.folders[source].get(old)
        if number is not None:
            self._change(_Names(((source, old, None), (folder, new, number)), {source, folder}))

    def _change(self, step: _Names | _Bytes) -> None:
        _apply(self._live, step)
        self._pending.append(step)

    def _sync(self, number: int) -> None:
        waiting: list[_Names | _Bytes] = []
        for step in self._pending:
            if isinstance(step, _Bytes):
                is_sure = step.file == number
            else:
                step.awaits.discard(number)
                is_sure = self._rule == "ext4" or not step.awaits
            if is_sure:
                _apply(self._sure, step)
            else:
                waiting.append(step)
        self._pending = waiting

    def _new(self, entry: Entry) -> int:
        number, self._count = self._count, self._count + 1
        self._modes[number] = entry.mode
        if entry.data is None:
            self._live.folders[number] = {}
            self._folders.add(number)
        elif isinstance(entry.data, str):
            self._says[number] = entry.data
        else:
            self._live.files[number] = bytearray(entry.data)
        return number

    def _find(self, path: str) -> int:
        if path == ".":
            return 0
        folder, name = self._place(path)
        if name not in self._live.folders[folder]:
            raise Unsupported(f"{path}: acted on, but the model of a disk has seen nobody make it")
        return self._live.folders[folder][name]

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        number = 0
        for part in above.split("/") if above else ():
            number = self._live.folders[number][part]
        return number, name

    def _tree(self, state: _State) -> Tree:
        return dict(self._walk(state, 0, ""))

    def _walk(self, state: _State, folder: int, prefix: str) -> Iterator[tuple[str, Entry]]:
        for name, number in sorted(state.folders.get(folder, {}).items()):
            path, mode = f"{prefix}{name}", self._modes[number]
            if number in self._folders:
                yield path, Entry(data=None, mode=mode)
                yield from self._walk(state, number, f"{path}/")
            elif number in self._says:
                yield path, Entry(data=self._says[number], mode=mode)
            else:
                yield path, Entry(data=bytes(state.files.get(number, b"")), mode=mode)


def cuts(
    tree: Tree, operations: Iterable[Operation], rule: Rule, choose: random.Random, states: int
) -> Iterator[tuple[str, int, Tree]]:
    """Yield what power cuts leave: a name, after how many operations, and the folder.

    The least that is sure comes once for as long as it stays the same, with the latest cut that leaves it, as most had
    been shown by then; after each operation that leaves something unsure come ``states`` others.
    """
    disk, least, number = Disk(tree, rule), tree, 0
    for number, operation in enumerate(operations, 1):
        disk.do(operation)
        sure = disk.least()
        if sure != least:
            yield f"{number - 1}:least", number - 1, least
            least = sure
        if operation.kind not in ("send", "show", "sync"):
            yield from ((f"{number}:{state}", number, disk.some(choose)) for state in range(1, states + 1))
    yield f"{number}:least", number, least


def _apply(state: _State, step: _Names | _Bytes) -> None:
    if isinstance(step, _Names):
        for folder, name, number in step.edits:
            names = state.folders.setdefault(folder, {})
            if number is None:
                names.pop(name, None)
            else:
                names[name] = number
        return
    data = state.files.setdefault(step.file, bytearray())
    if step.data is None:
        del data[step.offset :]
        data.extend(bytes(step.offset - len(data)))
    else:
        data.extend(bytes(max(0, step.offset - len(data))))
        data[step.offset : step.offset + len(step.data)] = step.data


def _torn(step: _Bytes, choose: random.Random) -> _Bytes:
    if not step.data:
        return step
    ends = range(-step.offset % SECTOR_BYTES or SECTOR_BYTES, len(step.data), SECTOR_BYTES)
    return _Bytes(step.file, step.offset, step.data[: choose.choice(ends)]) if ends else step
