"""The station's own camera: the newest frame, while somebody looks. Nobody looks for half a minute, and it is closed.

One thread reads; when the camera was unplugged it opens it again by itself. Frames are RGB, at full size.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.back_off import back_off_s
from edge_agent.journal import note
from runtime.contracts.errors import StationFault
from runtime.preprocess import Frame, Pixels, encode_preview

CLOSED_AFTER_S = 30.0
PREVIEW_PX = 960
_FRAME_WITHIN_S = 5.0
_LONGEST_WAIT_S = 5.0


class Camera:
    """One camera. Thread-safe; opened by the first look."""

    def __init__(
        self, source: int | str, *, closed_after_s: float = CLOSED_AFTER_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open nothing yet.

        Args:
            source: a number, a device's path, an address, or a video file, which is played at its own speed.
            closed_after_s: how long nobody looks until it is closed.
            clock: seconds.
        """
        self._source = source
        self._closed_after_s = closed_after_s
        self._clock = clock
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._looked_at_s = 0.0
        self._number = 0
        self._pixels: Pixels | None = None
        self._why: str | None = None
        self._closing = False

    @property
    def why(self) -> str | None:
        """What is wrong with it, if anything was when somebody last looked."""
        return self._why

    @property
    def is_open(self) -> bool:
        """Whether it is being read."""
        return self._thread is not None

    def frame(self) -> Frame:
        """Return a frame that was taken after this call.

        Raises:
            StationFault: there is none: it is unplugged, or another program has it.
        """
        return Frame(self._next(fresh=True)[1])

    def preview(self, after: int = 0) -> tuple[int, bytes]:
        """Return a frame of another number than ``after``, as a small JPEG, and its number.

        Raises:
            StationFault: there is none.
        """
        number, pixels = self._next(after=after)
        return number, encode_preview(Frame(pixels), PREVIEW_PX)

    def close(self) -> None:
        """Close it for good; one whose driver hangs is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(2.0)

    def _next(self, *, after: int = 0, fresh: bool = False) -> tuple[int, Pixels]:
        deadline_s = self._clock() + _FRAME_WITHIN_S
        with self._changed:
            self._looked_at_s = self._clock()
            # The frame that is being read now may have been taken before.
            after = self._number + 1 if fresh and self._thread is not None else after
            while self._pixels is None or self._number <= after:
                if self._thread is None and not self._closing:
                    self._why = None
                    self._thread = threading.Thread(target=self._watch, name="camera", daemon=True)
                    self._thread.start()
                left_s = deadline_s - self._clock()
                if self._why is not None or left_s <= 0 or self._closing:
                    raise StationFault(self._why or f"camera {self._source}: no picture within {_FRAME_WITHIN_S:.0f} s")
                self._changed.wait(left_s)
            return self._number, self._pixels

    def _watch(self) -> None:
        failures = 0
        try:
            while self._is_wanted():
                if self._read_until_it_ends():
                    failures = 0
                failures += 1
                if self._is_wanted():
                    self._say(f"camera {self._source}: no picture; plug it in, and close other programs that use it")
                    with self._changed:
                        self._changed.wait_for(
                            lambda: self._closing, min(_LONGEST_WAIT_S, back_off_s(failures, self._random))
                        )
        finally:
            with self._changed:
                self._thread, self._pixels = None, None
                self._changed.notify_all()

    def _read_until_it_ends(self) -> bool:
        """Keep the newest frame for as long as there are any and somebody looks; return whether there was one."""
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong is told here
        import cv2
        import numpy as np

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        capture = cv2.VideoCapture(self._source)
        is_file = isinstance(self._source, str) and Path(self._source).is_file()
        every_s = 1 / (capture.get(cv2.CAP_PROP_FPS) or 30.0) if is_file else 0.0
        any_frame = False
        try:
            while self._is_wanted():
                begun_s = self._clock()
                is_read, pixels = capture.read() if capture.isOpened() else (False, None)
                if not is_read or pixels is None:
                    return any_frame
                self._keep(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8))
                any_frame = True
                time.sleep(max(0.0, begun_s + every_s - self._clock()))
        finally:
            capture.release()
        return any_frame

    def _is_wanted(self) -> bool:
        return not self._closing and self._clock() - self._looked_at_s < self._closed_after_s

    def _keep(self, pixels: Pixels) -> None:
        with self._changed:
            if self._why is not None:
                note("camera_back", camera=str(self._source))
            self._number, self._pixels, self._why = self._number + 1, pixels, None
            self._changed.notify_all()

    def _say(self, why: str) -> None:
        with self._changed:
            if self._why is None:
                note("camera_away", why=why)
            self._pixels, self._why = None, why
            self._changed.notify_all()
