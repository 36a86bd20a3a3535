"""Asks ``bandwidth`` what may go now, and counts what goes in the outbox, so that a restart does not begin a new hour.

Where nothing is limited it never touches the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from edge_agent.bandwidth import Allowance, Bandwidth, allowance, hour_of, piece_bytes
from edge_agent.outbox import REST, UNCERTAIN, Outbox

NO_PHOTOS = -1


class Meter:
    """What may go to the server. For one thread."""

    def __init__(self, outbox: Outbox, bandwidth: Bandwidth, now_s: Callable[[], float] = time.time) -> None:
        self._outbox = outbox
        self._bandwidth = bandwidth
        self._now_s = now_s
        self._full_hour: int | None = None

    def allowance(self, *, urgent: bool) -> Allowance:
        """Return what may go now, and when it is worth looking again."""
        now_s = self._now_s()
        at = datetime.fromtimestamp(now_s, UTC).astimezone()
        return allowance(self._bandwidth, at=at, spent_bytes=self._spent_bytes(now_s), urgent=urgent)

    def wait_s(self, every_s: float) -> float:
        """Return how long to wait until more may go, at most ``every_s``."""
        if self._bandwidth.is_free:
            return every_s
        opens_in_s = [self.allowance(urgent=urgent).look_again_s for urgent in (True, False)]
        return min([every_s, *(max(seconds, 1.0) for seconds in opens_in_s if seconds > 0)])

    def photos_up_to(self) -> int:
        """Return the least urgent priority whose photos may go now; ``NO_PHOTOS`` where none may."""
        if self._bandwidth.is_free or self.allowance(urgent=False).bytes != 0:
            return REST
        return UNCERTAIN if self.allowance(urgent=True).bytes != 0 else NO_PHOTOS

    def take(self, wanted_bytes: int, *, urgent: bool, whole: bool = False) -> int:
        """Return how many of ``wanted_bytes`` may go now, and count them, durably; 0: none for now.

        Args:
            wanted_bytes: more than 0.
            urgent: of a case that waits for nothing but the hour's bytes.
            whole: all of them or none.
        """
        if self._bandwidth.is_free:
            return wanted_bytes
        now_s = self._now_s()
        allowed, spent_bytes = self.allowance(urgent=urgent), self._spent_bytes(now_s)
        taken = piece_bytes(allowed, wanted_bytes, whole=whole, spent_bytes=spent_bytes)
        if taken and self._bandwidth.bytes_per_hour:
            self._outbox.spend(hour_of(now_s), taken)
        elif allowed.bytes:  # some is left, but too little for what must go whole: do not come back for it again
            self._full_hour = hour_of(now_s)
        return taken

    def _spent_bytes(self, now_s: float) -> int:
        if self._bandwidth.bytes_per_hour == 0:
            return 0
        hour = hour_of(now_s)
        return self._bandwidth.bytes_per_hour if hour == self._full_hour else self._outbox.spent_bytes(hour)
