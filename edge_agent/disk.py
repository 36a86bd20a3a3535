"""What happens when the disk fills, and one table for what its errors mean.

Photos of confident, unaudited records go first, oldest first (the records stay); cases never go; when only cases are
left, scanning stops and says so. Deletes photos only, and only from here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
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


def make_room(outbox: Outbox, photos: ContentFolder, min_free_bytes: int) -> int:
    """Delete photos of confident records until ``min_free_bytes`` are free; return how many photos went.

    Raises:
        StationFault: only photos of cases are left, and there is still too little room.
    """
    dropped = 0
    while free_bytes(photos.root) < min_free_bytes:
        with disk_errors("photos"):
            gone = outbox.drop_oldest(lambda sha256: photos.path(sha256).unlink(missing_ok=True))
        if gone is None:
            raise StationFault(
                f"disk: {free_bytes(photos.root) >> 20} MiB free, {min_free_bytes >> 20} MiB wanted, and only photos "
                "of cases are left, which are never deleted; scanning stops until there is room"
            )
        dropped += gone
    return dropped
