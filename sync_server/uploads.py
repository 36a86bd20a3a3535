"""Unfinished photos: each station's own beginning of a photo, in a file that only grows until the photo is whole.

After tus 1.0, https://tus.io/protocols/resumable-upload (``HEAD`` tells the offset, ``PATCH`` appends at it, 409 where
it is another), and draft-ietf-httpbis-resumable-upload. A photo's address is its hash, so it needs no creation step,
and the hash is looked at before the photo counts. Two stations never share a file; two requests of one take turns.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime.contracts.durable import check_hash, make_folder, sync_folder
from runtime.contracts.errors import TryLater, Unsupported, Untrusted
from runtime.contracts.records import MAX_PHOTO_BYTES, StationId, check_name
from sync_server.blobs import CHUNK_BYTES, Blobs, disk_errors
from sync_server.intake import Photo, sniff
from sync_server.refusals import UploadSpoilt, WrongOffset

KEPT_S = 86_400.0
"""How long no byte has come of an unfinished photo that is given up."""
_SWEEP_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """How many bytes of the photo are here, durably; ``photo`` once that is all of it and its hash holds."""

    offset: int
    photo: Photo | None


class Uploads:
    """The unfinished photos of every station. Safe to use from several threads and processes."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._folder = blobs.root / "unfinished"
        self._swept_s = time.monotonic()

    def offset(self, sha256: str, station: StationId) -> int:
        """Return how many bytes a station has brought of a photo that is not whole."""
        try:
            return self._path(sha256, station).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, sha256: str, station: StationId, *, offset: int, length: int, piece: bytes) -> Appended:
        """Store a piece durably; with the last one, the photo.

        Args:
            sha256: of the whole photo.
            station: who brings it.
            offset: where the piece begins.
            length: of the whole photo, in bytes.
            piece: may be empty where only the last step was left to do.

        Raises:
            WrongOffset: another offset is the next one; nothing was stored.
            UploadSpoilt: the whole has another hash, and was thrown away.
            Untrusted: the whole is no photo, and was thrown away.
            Unsupported: ``length`` cannot be that of a photo, or the piece goes beyond it.
            TryLater: another request of this station is at it.
            StationFault: the disk refuses.
        """
        if not 0 < length <= MAX_PHOTO_BYTES or offset + len(piece) > length:
            raise Unsupported(
                f"photo {sha256[:12]}: expected a length of 1 to {MAX_PHOTO_BYTES} bytes and a piece within it, got "
                f"{len(piece)} bytes at {offset} of {length}"
            )
        path = self._path(sha256, station)
        if offset == 0:
            self._begin(path)
        with disk_errors(), _held(path) as file:
            size = file.seek(0, os.SEEK_END)
            if size > length:  # begun with another length in mind
                file.truncate(0)
                size = file.seek(0)
            if size != offset:
                raise WrongOffset(size)
            file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            size += len(piece)
            return Appended(offset=size, photo=self._finish(path, file, sha256) if size == length else None)

    def sweep(self, before_s: float) -> int:
        """Delete unfinished photos of which no byte has come since ``before_s`` (seconds since 1970)."""
        swept = 0
        for path in self._folder.glob("*.part"):
            with suppress(FileNotFoundError):  # finished beside us
                if path.stat().st_mtime < before_s:
                    path.unlink()
                    swept += 1
        return swept

    def _path(self, sha256: str, station: StationId) -> Path:
        return self._folder / f"{check_hash(sha256)}.{check_name(station, 'station')}.part"

    def _begin(self, path: Path) -> None:
        with disk_errors():
            make_folder(self._folder)
            if time.monotonic() - self._swept_s > _SWEEP_EVERY_S:
                self._swept_s = time.monotonic()
                self.sweep(time.time() - KEPT_S)
            path.touch(0o644)

    def _finish(self, path: Path, file: BinaryIO, sha256: str) -> Photo:
        file.seek(0)
        head = file.read(16)
        digest, size = hashlib.sha256(head), len(head)
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
        try:
            if digest.hexdigest() != sha256:
                raise UploadSpoilt(
                    f"photo {sha256[:12]}: expected bytes of this SHA-256, got {digest.hexdigest()[:12]} "
                    f"({size} bytes); they were thrown away, send it from its beginning"
                )
            media_type = sniff(head)
        except Untrusted:
            path.unlink()
            raise
        target = self._blobs.path(sha256)
        make_folder(target.parent)
        path.replace(target)
        sync_folder(target.parent)
        return Photo(sha256=sha256, size=size, media_type=media_type)


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """Open an unfinished photo for this request alone."""
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        raise WrongOffset(0) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Finished, and so renamed, between the opening and the lock: these are a stored photo's bytes now.
            is_ours = os.fstat(file.fileno()).st_ino == path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        if not is_ours:
            raise TryLater("photo: another request brings it at this moment; ask again where it goes on")
        yield file
