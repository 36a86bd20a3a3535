"""Finished steps of a build, by the hash of everything that went in: an interrupted build resumes where it was.

A step is a folder, whole or absent: it is made under another name and renamed when it is complete, with a list of what
is in it; one whose bytes the disk has changed since is absent. What is in a key decides what is reused, so a key holds
content hashes, never paths or times; our own code and all installed versions are part of every key.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from optimize.toolchain import toolchain_digest
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.durable import sha256_hex, sync_folder
from runtime.contracts.errors import Untrusted

T = TypeVar("T")

UNUSED_DAYS = 30
_VALUE = "value.json"
_LIST = "step.json"


def default_cache() -> Path:
    """Return the user's cache folder for builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "touchstone" / "optimize"


class StepCache:
    """Steps in one folder; safe to share between processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sound: set[Path] = set()

    def step(self, name: str, key: Mapping[str, object], make: Callable[[Path], None]) -> Path:
        """Return the folder of a finished step, made now where it is new.

        Args:
            name: of the step, first in the folder's name.
            key: plain JSON data: everything that the result depends on.
            make: fills an empty folder; whatever it raises leaves nothing behind.
        """
        found = self._place(name, key)
        if self.find(name, key):
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{found.name}.{secrets.token_hex(4)}.tmp"
        draft.mkdir()
        try:
            make(draft)
            (draft / _LIST).write_bytes(canonical_json(_contents(draft)))
            _settle(draft)
            try:
                draft.rename(found)
            except OSError:
                if not found.is_dir():  # else another process was faster, with the same result
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return found

    def find(self, name: str, key: Mapping[str, object]) -> Path | None:
        """Return the folder of a finished step, or ``None`` where it is new, or was damaged since: then it goes."""
        found = self._place(name, key)
        try:
            os.utime(found)
        except FileNotFoundError:
            return None
        if found not in self._sound and not _is_sound(found):
            shutil.rmtree(found, ignore_errors=True)
            return None
        self._sound.add(found)
        return found

    def _place(self, name: str, key: Mapping[str, object]) -> Path:
        whole = {"step": name, "toolchain": toolchain_digest(), **key}
        return self.folder / f"{name}-{sha256_hex(canonical_json(whole))[:40]}"

    def value(self, name: str, key: Mapping[str, object], cls: type[T], make: Callable[[], T]) -> T:
        """Return the dataclass that a finished step gave, computed now where it is new."""

        def write(draft: Path) -> None:
            (draft / _VALUE).write_bytes(canonical_json(make()))

        path = self.step(name, key, write) / _VALUE
        return decode(cls, parse_json(path.read_bytes(), str(path)), str(path))

    def sweep(self, now_s: float | None = None) -> int:
        """Delete steps that nobody used for 30 days, and what killed builds left; return how many."""
        now = time.time() if now_s is None else now_s
        old = 0
        for path in list(self.folder.iterdir()) if self.folder.is_dir() else ():
            try:
                unused_s = now - path.stat().st_mtime
            except FileNotFoundError:  # another build sweeps too
                continue
            if unused_s > (86_400 if path.name.endswith(".tmp") else UNUSED_DAYS * 86_400):
                shutil.rmtree(path, ignore_errors=True)
                old += 1
        return old


def _contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a step but its list, by path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / _LIST]
    return {path.relative_to(folder).as_posix(): _hash(path) for path in files}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_sound(folder: Path) -> bool:
    try:
        return bool(parse_json((folder / _LIST).read_bytes(), _LIST) == _contents(folder))
    except (Untrusted, OSError):
        return False


def _settle(folder: Path) -> None:
    """Bring a finished folder to the disk itself: the rename must not outlive what it names."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
