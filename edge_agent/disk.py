"""What happens when the disk fills, and one table for what its errors mean.

Photos of confident, unaudited records go first, oldest first (the records stay); cases never go; when only cases are
left, scanning stops and says so. Deletes photos only, and only from here.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_agent.outbox import Outbox
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import StationFault

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Translate what the disk says while ``what`` is done.

    Raises:
        StationFault: the disk is full, read-only or broken; whatever was there before still is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StationFault(f"{what}: the disk is full; free some space, scanning goes on by itself") from error
        raise StationFault(f"{what}: {error.strerror or error}; check the disk and its permissions") from error


def free_bytes(folder: Path) -> int:
    """Return how many bytes this process may still write beside ``folder``."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


class PhotoBudget:
    """How many bytes the photos may take, and do take. Thread-safe.

    The folder is looked through once, when that is first asked; from then on this process counts what it stores and
    removes. What others do beside it shows after ``recount``. Without a limit nothing is ever counted.
    """

    def __init__(self, photos: ContentFolder, max_bytes: int = 0) -> None:
        """Count nothing yet; ``max_bytes`` of 0 is no limit."""
        self.max_bytes = max_bytes
        self._photos = photos
        self._held_bytes: int | None = None
        self._lock = threading.Lock()

    def held_bytes(self) -> int:
        """Return how many bytes the photos take; 0 where nothing is counted."""
        with self._lock:
            if self._held_bytes is None:
                self._held_bytes = self._looked_through() if self.max_bytes else 0
            return self._held_bytes

    def recount(self) -> None:
        """Look through the folder again."""
        held_bytes = self._looked_through() if self.max_bytes else 0
        with self._lock:
            self._held_bytes = held_bytes

    def put(self, data: bytes, sha256: str) -> None:
        """Store a photo durably."""
        is_new = self.max_bytes > 0 and sha256 not in self._photos
        self._photos.put(data, sha256)
        if is_new:
            self._add(len(data))

    def remove(self, sha256: str) -> None:
        """Delete a photo; one that is missing is fine."""
        path = self._photos.path(sha256)
        size = path.stat().st_size if self.max_bytes and path.exists() else 0
        path.unlink(missing_ok=True)
        self._add(-size)

    def _add(self, change_bytes: int) -> None:
        with self._lock:
            if self._held_bytes is not None:
                self._held_bytes += change_bytes

    def _looked_through(self) -> int:
        held_bytes = 0
        for sha256 in self._photos:
            with suppress(FileNotFoundError):  # removed beside us
                held_bytes += self._photos.path(sha256).stat().st_size
        return held_bytes


def make_room(outbox: Outbox, photos: ContentFolder, min_free_bytes: int, budget: PhotoBudget | None = None) -> int:
    """Delete photos of confident records until enough bytes are free and the photos keep to their budget.

    Args:
        outbox: knows whose photos may go.
        photos: where they are.
        min_free_bytes: of the disk, for everything.
        budget: of the photos; None: no limit.

    Returns:
        How many photos went.

    Raises:
        StationFault: only photos of cases are left, and there is still too little room.
    """
    budget = budget or PhotoBudget(photos)
    dropped = 0
    while short_of := _short_of(photos, min_free_bytes, budget):
        with disk_errors("photos"):
            gone = outbox.drop_oldest(budget.remove)
        if gone is None:
            raise StationFault(
                f"disk: {short_of}, and only photos of cases are left, which are never deleted; scanning stops until "
                "there is room"
            )
        dropped += gone
    return dropped


def _short_of(photos: ContentFolder, min_free_bytes: int, budget: PhotoBudget) -> str:
    free = free_bytes(photos.root)
    if free < min_free_bytes:
        return f"{free >> 20} MiB free, {min_free_bytes >> 20} MiB wanted"
    if budget.max_bytes and budget.held_bytes() > budget.max_bytes:
        return f"photos take {budget.held_bytes() >> 20} MiB, max_photo_bytes allows {budget.max_bytes >> 20}"
    return ""
