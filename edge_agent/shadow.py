"""A candidate beside the running model: it looks at the same photos after the verdict was given, and is compared.

On a thread of its own with low priority, so are the engine's threads, which it starts. A scan that comes while it is
busy is dropped and counted: nothing ever waits for it. Writes nothing and decides nothing.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from edge_agent.intake import Checked
from edge_agent.release_facts import Shadowed
from runtime.contracts.errors import TouchstoneError
from runtime.contracts.records import Record
from runtime.inspector import Inspector
from runtime.policy import model_says
from runtime.preprocess import Shown

_NICENESS = 10
_CLOSE_WITHIN_S = 5.0
_STEPS = ("decode", "infer", "decide")

_Scan = tuple[Record, Sequence[Checked]]


class Shadow:
    """Loads a candidate in its own thread and compares it until closed.

    Attributes:
        failed: why it compares nothing any more; ``None`` as long as it can.
    """

    def __init__(self, load: Callable[[], Inspector], seen: Shadowed) -> None:
        self.failed: str | None = None
        self._load = load
        self._seen = seen
        self._counting = threading.Lock()
        self._closed = threading.Event()
        self._next: queue.Queue[_Scan | None] = queue.Queue(1)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    @property
    def seen(self) -> Shadowed:
        """What it has shown so far."""
        with self._counting:
            return self._seen

    def take(self, record: Record, photos: Sequence[Checked]) -> None:
        """Hand over a finished scan, if there is room; returns at once."""
        try:
            self._next.put_nowait((record, photos))
        except queue.Full:
            self._count(dropped=1)

    def close(self) -> None:
        """End it after the scan in hand, and let go of its model; waits a few seconds at most."""
        self._closed.set()
        with suppress(queue.Full):  # it looks at ``_closed`` before the one that it takes next
            self._next.put_nowait(None)
        self._thread.join(_CLOSE_WITHIN_S)

    def _run(self) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
            self._serve(self._load())
        except TouchstoneError as error:
            self.failed = str(error)
        finally:
            if self.failed is None and not self._closed.is_set():
                self.failed = "its thread has ended; see the log"

    def _serve(self, inspector: Inspector) -> None:
        while not self._closed.is_set():
            scan = self._next.get()
            if scan is not None and not self._closed.is_set():
                self._compare(inspector, *scan)

    def _compare(self, inspector: Inspector, record: Record, photos: Sequence[Checked]) -> None:
        shown: dict[str, list[Shown]] = {}
        for photo in photos:
            shown.setdefault(photo.view, []).append(photo.shown)
        try:
            inspection = inspector.inspect(shown, record.listing)
        except TouchstoneError:
            self._count(faults=1)
            return
        with self._counting:
            self._seen = dataclasses.replace(
                self._seen,
                compared=self._seen.compared + 1,
                differing=self._seen.differing + (model_says(inspection.reasons) != model_says(record.reasons)),
                item_us=(*self._seen.item_us, _busy_us(inspection.timings_us)),
                item_us_before=(*self._seen.item_us_before, _busy_us(record.timings_us)),
            )

    def _count(self, *, dropped: int = 0, faults: int = 0) -> None:
        with self._counting:
            self._seen = dataclasses.replace(
                self._seen, dropped=self._seen.dropped + dropped, faults=self._seen.faults + faults
            )


def _busy_us(timings_us: Mapping[str, int]) -> int:
    return sum(timings_us.get(step, 0) for step in _STEPS)
