"""Whether a loop still makes progress. Judges nothing and stops nothing; see ``edge_agent.supervisor``.

A step that may take long for a good reason (a download, a trial) calls ``beat`` as it goes, from wherever it is: the
thread knows whose step it runs. Between two steps a loop only waits, and that is no silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


class Pulse:
    """When the step of one loop last showed progress."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._last_s: float | None = None

    def beat(self) -> None:
        """Note progress."""
        self._last_s = self._now_s()

    def rest(self) -> None:
        """Note that no step is in hand."""
        self._last_s = None

    def silent_s(self) -> float:
        """Return the seconds since the last progress of the step in hand; 0 without one."""
        last_s = self._last_s
        return 0.0 if last_s is None else self._now_s() - last_s

    def run(self, step: Callable[[], T]) -> T:
        """Run a step in this thread, whose ``beat`` is then this pulse's."""
        token = _PULSE.set(self)
        try:
            return step()
        finally:
            _PULSE.reset(token)


_PULSE: ContextVar[Pulse | None] = ContextVar("pulse", default=None)


def beat() -> None:
    """Say that the step which runs in this thread goes on; nothing where no supervisor runs it."""
    pulse = _PULSE.get()
    if pulse is not None:
        pulse.beat()


def beating(parts: Iterable[T]) -> Iterator[T]:
    """Yield ``parts``, with a beat at each."""
    for part in parts:
        beat()
        yield part
