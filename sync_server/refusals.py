"""What this server refuses, each inside the family of ``runtime.contracts.errors`` that says what the caller does next.

::

    Untrusted                 Unsupported            TryLater
    ├── Unauthenticated 401   ├── NotFound 404       ├── PhotosMissing 409
    │   └── ClockOff          └── Conflict 409       └── WrongOffset 409
    ├── Forbidden 403
    └── UploadSpoilt 400

``sync_server.api.problems`` holds the one table from class to HTTP status.
"""

from __future__ import annotations

from runtime.contracts.errors import TryLater, Unsupported, Untrusted


class Unauthenticated(Untrusted):
    """The request does not prove who sent it."""


class ClockOff(Unauthenticated):
    """The request is genuine but for its time; correct the clock by the answer's ``Date`` and send it again."""


class Forbidden(Untrusted):
    """We know who asks, and they may not."""


class NotFound(Unsupported):
    """There is no such thing here."""


class Conflict(Unsupported):
    """It contradicts what is already here."""


class PhotosMissing(TryLater):
    """A case came before its photos: upload those in ``missing``, then send the record again."""

    def __init__(self, missing: tuple[str, ...]) -> None:
        super().__init__(f"record: {len(missing)} of its photos are not here yet; upload them, then send it again")
        self.missing = missing


class WrongOffset(TryLater):
    """An upload goes on elsewhere: at ``offset``."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"photo: {offset} of its bytes are here; send what follows them")
        self.offset = offset


class UploadSpoilt(Untrusted):
    """The whole of an upload is not what was promised; none of it is kept."""

    offset = 0
