"""Lets photos go that the server has had for long enough. Never one of a case that it has not, nor before its time.

By the server's clock alone, and only right after it told the time: a station whose own clock jumps loses nothing by it.
A station without a server keeps everything, as far as its disk allows (``edge_agent.disk``).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edge_agent.disk import PhotoBudget, disk_errors
from edge_agent.journal import note
from edge_agent.outbox import Outbox

EVERY_S = 3600.0
_RECORDS_A_STEP = 50
_DAY_S = 86_400.0


class Retention:
    """A little at a time, once an hour."""

    def __init__(
        self,
        outbox: Outbox,
        budget: PhotoBudget,
        *,
        keep_days: int,
        keep_case_days: int,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Do nothing yet.

        Args:
            outbox: knows what the server has taken, and when.
            budget: removes photos.
            keep_days: after the server took a record, unless it is a case that waits for an answer.
            keep_case_days: after the server took a case, while it waits.
            elapsed_s: a clock that never jumps.
        """
        self._outbox = outbox
        self._budget = budget
        self._keep_s = keep_days * _DAY_S
        self._keep_case_s = max(keep_days, keep_case_days) * _DAY_S
        self._elapsed_s = elapsed_s
        self._next_s = 0.0

    def step(self, server_now_s: float) -> bool:
        """Let go of what some records had, if an hour has passed; tell whether more is left to do now.

        Raises:
            StationFault: the disk refuses.
        """
        if self._elapsed_s() < self._next_s:
            return False
        with disk_errors("photos"):
            dropped = self._outbox.drop_acked(
                self._budget.remove,
                acked_before_s=server_now_s - self._keep_s,
                waiting_before_s=server_now_s - self._keep_case_s,
                limit=_RECORDS_A_STEP,
            )
            if dropped.records:
                note("photos_dropped", count=dropped.photos, records=dropped.records, why="kept long enough")
            if dropped.records == _RECORDS_A_STEP:
                return True
            self._budget.recount()
        self._next_s = self._elapsed_s() + EVERY_S
        return False
