"""Finished steps of a build, by the hash of everything that went in: an interrupted build resumes where it was.

A step is a folder, whole or absent: it is made under another name and renamed when it is complete. What is in a key
decides what is reused, so a key holds content hashes and versions, never paths or times.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.durable import sha256_hex, sync_folder
from runtime.contracts.errors import Untrusted

T = TypeVar("T")

UNUSED_DAYS = 30
_VALUE = "value.json"


def default_cache() -> Path:
    """Return the user's cache folder for builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "touchstone" / "optimize"


class StepCache:
    """Steps in one folder; safe to share between processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        """Return the folder of a finished step, or ``None`` where it is new."""
        found = self._place(name, key)
        try:
            os.utime(found)
        except FileNotFoundError:
            return None
        return found

    def _place(self, name: str, key: Mapping[str, object]) -> Path:
        return self.folder / f"{name}-{sha256_hex(canonical_json({'step': name, **key}))[:40]}"

    def value(self, name: str, key: Mapping[str, object], cls: type[T], make: Callable[[], T]) -> T:
        """Return the dataclass that a finished step gave, computed now where it is new."""

        def write(draft: Path) -> None:
            (draft / _VALUE).write_bytes(canonical_json(make()))

        path = self.step(name, key, write) / _VALUE
        try:
            return decode(cls, parse_json(path.read_bytes(), str(path)), str(path))
        except (Untrusted, FileNotFoundError):  # the disk lost it, or another version wrote it
            shutil.rmtree(path.parent, ignore_errors=True)
            return decode(cls, parse_json((self.step(name, key, write) / _VALUE).read_bytes(), name), name)

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


def _settle(folder: Path) -> None:
    """Bring a finished folder to the disk itself: the rename must not outlive what it names."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
