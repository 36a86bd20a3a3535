"""One photo on its way in: checked and stripped, hashed, and stored, on threads of its own. Decides nothing.

Checking and looking share the cores; writing waits for the disk beside them, so that a photo is durable about when it
has been looked at. What was stored for an item that came to nothing is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.disk import PhotoBudget, disk_errors, make_room
from edge_agent.journal import note
from edge_agent.outbox import Outbox
from runtime.contracts.durable import ContentFolder, sha256_hex, write_durably
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import MAX_PHOTO_BYTES, check_name
from runtime.photo import Photo, read_photo

if TYPE_CHECKING:
    from runtime.preprocess import Frame

_WRITERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One photo, fit to be looked at and kept.

    Attributes:
        view: of the photo.
        shown: what the model looks at: the photo, or the frame that it was made from.
        data: what is kept: JPEG, PNG or WebP without metadata.
        sha256: of ``data``.
    """

    view: str
    shown: Photo | Frame
    data: bytes
    sha256: str


def check(view: str, photo: bytes | Frame, name: str) -> Checked:
    """Check and strip one photo.

    Args:
        view: of the photo.
        photo: as it came.
        name: what to call it in messages.

    Raises:
        Unsupported: it is no photo, or too large.
    """
    check_name(view, "view")
    if not isinstance(photo, bytes):
        from runtime.preprocess import encode_frame  # a scan seen before needs no OpenCV

        data = encode_frame(photo)
        return Checked(view=view, shown=photo, data=data, sha256=sha256_hex(data))
    if len(photo) > MAX_PHOTO_BYTES:
        raise Unsupported(f"photo {name!r}: expected at most {MAX_PHOTO_BYTES} bytes, got {len(photo)}")
    read = read_photo(photo, name)
    return Checked(view=view, shown=read, data=read.data, sha256=sha256_hex(read.data))


class Intake:
    """Where the photos of a station are kept. Thread-safe."""

    def __init__(
        self, outbox: Outbox, photos: ContentFolder, min_free_bytes: int, budget: PhotoBudget | None = None
    ) -> None:
        self._outbox = outbox
        self._photos = photos
        self._min_free_bytes = min_free_bytes
        self._budget = budget or PhotoBudget(photos)
        self._writers = ThreadPoolExecutor(_WRITERS, "write")

    def store(self, photo: Checked) -> Future[None]:
        """Begin to store a photo durably; the result raises ``StationFault`` where the disk refuses.

        Raises:
            StationFault: there is no room, and nothing that may go.
        """
        dropped = make_room(self._outbox, self._photos, self._min_free_bytes, self._budget)
        if dropped:
            note("photos_dropped", count=dropped, why="disk")
        return self._writers.submit(self._store, photo)

    def _store(self, photo: Checked) -> None:
        with disk_errors("photos"):
            self._budget.put(photo.data, photo.sha256)

    def keep(self, photos: Iterable[Checked]) -> None:
        """See that the photos of a case are there; its record is on disk and protects them from now on.

        Another process may have made room with these very bytes before the record was there.
        """
        for photo in photos:
            self._store(photo)

    def mend(self, photos: Iterable[Checked]) -> None:
        """Store the photos of a case again where they are gone or have rotted: a disk may lose what it held."""
        with disk_errors("photos"):
            for photo in photos:
                self._budget.put(photo.data, photo.sha256)
                path = self._photos.path(photo.sha256)
                if path.read_bytes() != photo.data:
                    write_durably(path, photo.data)

    def take_back(self, photos: Sequence[Checked], stored: Sequence[Future[None]]) -> None:
        """Remove photos of an item that came to nothing, but for those that a record or an open session claims."""
        wait(stored)
        self.remove_unclaimed([photo.sha256 for photo in photos])

    def sweep(self, before_s: float) -> int:
        """Remove what a crash left: files half written, and photos whose record was never written.

        Args:
            before_s: seconds since 1970; anything written later is left alone.

        Returns:
            How many files went.
        """
        with disk_errors("photos"):
            swept = self._photos.sweep(before_s)
            old = [sha256 for sha256 in self._photos if self._photos.path(sha256).stat().st_mtime < before_s]
        return swept + self.remove_unclaimed(old)

    def remove_unclaimed(self, hashes: Sequence[str]) -> int:
        """Remove photos that neither a record nor an open session claims; return how many nobody claims."""
        with disk_errors("photos"):
            return self._outbox.remove_unclaimed(hashes, self._budget.remove)
