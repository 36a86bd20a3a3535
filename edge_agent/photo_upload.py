"""Brings one photo to the server, piece by piece, from where the last try ended.

How much of an unfinished photo the server has is asked of it each time, so nothing is remembered here and a crash of
either end costs one piece at most. A server that knows no pieces gets the photo whole, as before. See
``runtime.contracts.sync.UPLOAD_OFFSET``.
"""

from __future__ import annotations

import threading

from edge_agent.meter import Meter
from edge_agent.server_link import Refused, Reply, ServerLink
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import TryLater, Untrusted
from runtime.contracts.sync import UPLOAD_LENGTH, UPLOAD_OFFSET

_CORRECTIONS = 2
_KNOWS_NO_PIECES = (404, 405, 501)


class PhotoUpload:
    """Sends photos. For one thread."""

    def __init__(
        self,
        *,
        photos: ContentFolder,
        link: ServerLink,
        meter: Meter,
        piece_bytes: int,
        stopping: threading.Event,
    ) -> None:
        self._photos = photos
        self._link = link
        self._meter = meter
        self._piece_bytes = piece_bytes
        self._stopping = stopping

    def send(self, sha256: str, *, urgent: bool, even_if_there: bool = False) -> bool:
        """See that the server has a photo; False: it must wait, for the bandwidth or because the agent stops.

        Args:
            sha256: of the photo.
            urgent: it may go at any hour.
            even_if_there: send it without asking whether it is there: the answer was wrong before.

        Raises:
            TryLater: the server is down, or broke off.
            Untrusted: the photo here is gone or no longer has its hash.
            Refused: the server says why.
        """
        is_there, offset = (False, None) if even_if_there else self._held(sha256)
        if is_there:
            return True
        data = self._read(sha256)
        if offset is None:
            return self._put(sha256, data, urgent)
        return self._send_pieces(sha256, data, offset, urgent)

    def _held(self, sha256: str) -> tuple[bool, int | None]:
        """Tell whether the server has a photo; if not, how much of it, None where the server knows no pieces."""
        try:
            self._link.request("HEAD", f"/v1/photos/{sha256}")
        except Refused as refused:  # an answer to HEAD has no body, so no problem document
            if refused.status == 404:
                return False, refused.upload_offset
            raise
        return True, None

    def _read(self, sha256: str) -> bytes:
        try:
            return self._photos.read(sha256)
        except OSError as error:
            raise Untrusted(
                f"photo {sha256[:12]}: cannot be read ({error.strerror}); restore it from a copy, the case waits"
            ) from error

    def _put(self, sha256: str, data: bytes, urgent: bool) -> bool:
        if not self._meter.take(len(data), urgent=urgent, whole=True):
            return False
        self._link.request("PUT", f"/v1/photos/{sha256}", data, content_type="application/octet-stream")
        return True

    def _send_pieces(self, sha256: str, data: bytes, offset: int, urgent: bool) -> bool:
        corrections = 0
        while not self._stopping.is_set():
            wanted = min(self._piece_bytes, len(data) - offset)
            size = self._meter.take(wanted, urgent=urgent) if wanted > 0 else 0  # 0: it only has to finish
            if wanted > 0 and not size:
                return False
            try:
                reply = self._patch(sha256, data[offset : offset + size], offset, len(data))
            except Refused as refused:
                if refused.status in _KNOWS_NO_PIECES:
                    return self._put(sha256, data, urgent)
                if refused.upload_offset is None or corrections == _CORRECTIONS:
                    if refused.status == 409:
                        raise TryLater(f"photo {sha256[:12]}: somebody else sends it too ({refused})") from refused
                    raise
                corrections += 1
                offset = refused.upload_offset  # 409: it is elsewhere; 400: the bytes were wrong, and are gone
                continue
            if reply.status != 204:  # 200, 201: it has all of it
                return True
            if not size or reply.upload_offset != offset + size:
                raise TryLater(
                    f"photo {sha256[:12]}: expected the server's word that it has this piece; will ask again"
                )
            offset += size
        return False

    def _patch(self, sha256: str, piece: bytes, offset: int, length: int) -> Reply:
        return self._link.request(
            "PATCH",
            f"/v1/photos/{sha256}",
            piece,
            content_type="application/offset+octet-stream",
            headers={UPLOAD_OFFSET: str(offset), UPLOAD_LENGTH: str(length)},
        )
