"""Runs the agent's loops beside each other until told to stop. A loop that fails waits and goes on, alone.

A loop is a blocking step, run in a thread of its own, that returns how long to wait before the next. What an error
means is decided by its family alone; anything else is a crash of that loop, logged with its place and restarted with
back-off.

systemd's watchdog is pinged while every loop makes progress. A step that is silent for longer than its loop allows
hangs: no thread can be ended from outside, so the pings stop, and systemd restarts the process.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edge_agent.back_off import back_off_s
from edge_agent.journal import note
from edge_agent.pulse import Pulse
from edge_agent.sd_notify import Notifier
from runtime.contracts.errors import StationFault, TouchstoneError, TryLater, Unsupported, Untrusted

EVENTS: tuple[tuple[type[TouchstoneError], str], ...] = (
    (TryLater, "try_later"),
    (Untrusted, "untrusted"),
    (Unsupported, "unsupported"),
    (StationFault, "needs_a_person"),
    (TouchstoneError, "failed"),
)
"""How a family is called in the log; the first that fits."""

CRASHED = "crashed"
"""How anything else is called that ends a step."""

_SAME_NOTE_AFTER_S = 300.0
_LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One thing that the agent does again and again.

    Attributes:
        name: for the log, and for ``wake``.
        step: does one piece of work and returns the seconds to wait before the next.
        longest_wait_s: the back-off after failures never exceeds this.
        grace_s: how long a step in hand may take when the agent stops; None: as long as it needs.
        longest_silence_s: a step that shows no progress for longer hangs (see ``edge_agent.pulse``).
    """

    name: str
    step: Callable[[], float]
    longest_wait_s: float
    grace_s: float | None
    longest_silence_s: float = 300.0


class Supervisor:
    """Runs loops; ``stopping`` is set first when it is told to stop, so that long steps may look at it."""

    def __init__(
        self,
        loops: Sequence[Loop],
        stopping: threading.Event,
        *,
        notifier: Notifier | None = None,
        status: Callable[[], str] = lambda: "running",
        on_failure: Callable[[str, str], None] = lambda loop, event: None,
    ) -> None:
        """Run nothing yet.

        Args:
            loops: what to run.
            stopping: set when it is told to stop.
            notifier: the way to systemd; ``None``: nobody is told.
            status: says in one line how all stands, while no loop hangs.
            on_failure: told of each failed step: the loop's name, and the name of its error's family.
        """
        self._loops = loops
        self._stopping = stopping
        self._notifier = notifier or Notifier({})
        self._status = status
        self._on_failure = on_failure
        self._pulses = {loop.name: Pulse() for loop in loops}
        self._threads = ThreadPoolExecutor(len(loops), "loop")  # none waits for a neighbour's thread
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._wakes: dict[str, asyncio.Event] = {}
        self._aio: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def wake(self, name: str) -> None:
        """End the wait of a loop; may be called from any thread."""
        if self._aio is not None and not self._aio.is_closed() and name in self._wakes:
            self._aio.call_soon_threadsafe(self._wakes[name].set)

    def stop(self) -> None:
        """Begin to stop; call it in the event loop's thread."""
        self._notifier.stopping()
        self._stopping.set()
        self._stop.set()
        for wake in self._wakes.values():
            wake.set()

    async def until_stopped(self) -> None:
        """Wait until it is told to stop; for what runs beside the loops."""
        await self._stop.wait()

    async def run(self) -> bool:
        """Run until SIGTERM, SIGINT or ``stop``; return whether every step in hand came to its end."""
        self._wakes = {loop.name: asyncio.Event() for loop in self._loops}
        self._aio = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._aio.add_signal_handler(number, self.stop)
        if self._stopping.is_set():  # told so while it was starting
            self.stop()
        tasks = {loop.name: asyncio.create_task(self._run(loop)) for loop in self._loops}
        watchdog = asyncio.create_task(self._watch_over())
        await self._stop.wait()
        ended = True
        for loop in self._loops:
            done, _ = await asyncio.wait([tasks[loop.name]], timeout=loop.grace_s)
            if not done:
                ended = False
                note("left_in_hand", loop=loop.name)
        watchdog.cancel()
        self._threads.shutdown(wait=False)
        return ended

    async def _watch_over(self) -> None:
        every_s = min(_LOOK_EVERY_S, (self._notifier.watchdog_s or _LOOK_EVERY_S) / 2)
        known: set[str] = set()
        while True:
            silent_s = {loop.name: self._pulses[loop.name].silent_s() for loop in self._loops}
            hung = {loop.name for loop in self._loops if silent_s[loop.name] > loop.longest_silence_s}
            if not hung:
                self._notifier.ping()
            for name in sorted(hung - known):
                note("hung", loop=name, silent_s=round(silent_s[name]), watchdog=self._notifier.watchdog_s is not None)
            for name in sorted(known - hung):
                note("goes_on", loop=name)
            known = hung
            if not self._stopping.is_set():
                self._notifier.status(f"hung: {', '.join(sorted(hung))}" if hung else self._status())
            await asyncio.sleep(every_s)

    async def _step(self, loop: Loop) -> float:
        pulse = self._pulses[loop.name]
        pulse.beat()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, pulse.run, loop.step)
        finally:
            pulse.rest()

    async def _run(self, loop: Loop) -> None:
        failures, last_note, noted_at_s = 0, "", 0.0
        wake = self._wakes[loop.name]
        while not self._stopping.is_set():
            wake.clear()
            try:
                wait_s = await self._step(loop)
                failures, last_note = 0, ""
            except TouchstoneError as error:
                failures += 1
                event = next(name for family, name in EVENTS if isinstance(error, family))
                self._on_failure(loop.name, event)
                if f"{event}{error}" != last_note or time.monotonic() - noted_at_s > _SAME_NOTE_AFTER_S:
                    last_note, noted_at_s = f"{event}{error}", time.monotonic()
                    note(event, loop=loop.name, why=str(error))
                wait_s = min(loop.longest_wait_s, back_off_s(failures, self._random))
            except Exception as error:  # noqa: BLE001 - the one place where a crash is caught, so that others go on
                failures += 1
                self._on_failure(loop.name, CRASHED)
                where = traceback.format_exception(error)[-2].strip().replace("\n", " ")
                note(CRASHED, loop=loop.name, why=f"{type(error).__name__}: {error}", where=where)
                wait_s = min(loop.longest_wait_s, back_off_s(failures, self._random))
            if wait_s > 0 and not self._stopping.is_set():
                # New work wakes an idle loop; one that backs off would only fail more often, and wait ever longer.
                await _wait(self._stop if failures else wake, wait_s)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
