"""``touchstone-agent run``: the daemon. SIGTERM and SIGINT finish the scan in hand, then end it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_agent.agent import Parts, Watch, build, hold_lock, restore_model, since_process_start_ms
from edge_agent.home import Home
from edge_agent.journal import note
from edge_agent.supervisor import Loop, Supervisor
from runtime.contracts.errors import TouchstoneError

if TYPE_CHECKING:
    from edge_agent.online import Online

_WATCH_LONGEST_WAIT_S = 5.0
_UPLINK_LONGEST_WAIT_S = 30.0
_UPDATE_LONGEST_WAIT_S = 300.0
_NETWORK_GRACE_S = 3.0


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Run until stopped, or once."""
    stopping = threading.Event()
    if not arguments.once:
        for number in (signal.SIGTERM, signal.SIGINT):  # until the supervisor takes them over
            signal.signal(number, lambda *_: stopping.set())
    parts = build(home, stopping)
    with hold_lock(home):
        try:
            parts.outbox.release_leases()
            restore_model(parts)
            state = "" if parts.slot.current else " (no model yet)"
            sys.stdout.write(f"ready in {since_process_start_ms()} ms{state}\n")
            sys.stdout.flush()
            if arguments.once:
                return _once(parts, stopping)
            asyncio.run(_daemon(parts, stopping))
        finally:
            parts.outbox.close()
    return 0


async def _daemon(parts: Parts, stopping: threading.Event) -> None:
    network = _Network(parts, stopping)

    def on_record() -> None:
        for name in ("uplink", "proving"):
            supervisor.wake(name)

    watch = Watch(parts, on_record)
    loops = (
        Loop(name="watch", step=watch.step, longest_wait_s=_WATCH_LONGEST_WAIT_S, grace_s=None),
        Loop(
            name="uplink",
            step=network.uplink_step,
            longest_wait_s=_UPLINK_LONGEST_WAIT_S,
            grace_s=_NETWORK_GRACE_S,
        ),
        Loop(
            name="update",
            step=network.update_step,
            longest_wait_s=_UPDATE_LONGEST_WAIT_S,
            grace_s=_NETWORK_GRACE_S,
        ),
        Loop(
            name="proving",
            step=parts.slot.advance,
            longest_wait_s=_WATCH_LONGEST_WAIT_S,
            grace_s=_NETWORK_GRACE_S,
        ),
    )
    supervisor = Supervisor(loops, stopping)
    ended = await supervisor.run()
    parts.slot.end()
    note("stopped", in_order=ended)
    if not ended:
        # A thread still waits for the network. All that matters is on disk already, so leave without it.
        sys.stdout.flush()
        os._exit(0)
    network.close()


class _Network:
    """The network half, imported and built by the loops themselves: the first scan does not wait for it."""

    def __init__(self, parts: Parts, stopping: threading.Event) -> None:
        self._parts = parts
        self._stopping = stopping
        self._lock = threading.Lock()
        self._online: Online | None = None

    def uplink_step(self) -> float:
        return self._built().uplink_step()

    def update_step(self) -> float:
        return self._built().update_step()

    def close(self) -> None:
        if self._online is not None:
            self._online.close()

    def _built(self) -> Online:
        with self._lock:
            if self._online is None:
                from edge_agent.online import Online

                self._online = Online(self._parts, self._stopping)
            return self._online


def _once(parts: Parts, stopping: threading.Event) -> int:
    network = _Network(parts, stopping)
    watch = Watch(parts, on_record=lambda: None)
    steps: tuple[tuple[Callable[[], float], Callable[[], bool]], ...] = (
        (network.update_step, lambda: True),
        (watch.step, watch.is_empty),
        (parts.slot.advance, lambda: True),
        (network.uplink_step, lambda: True),
    )
    failed = False
    try:
        for step, is_done in steps:
            try:
                while step() <= 0 or not is_done():
                    pass
            except TouchstoneError as error:
                failed = True
                sys.stderr.write(f"touchstone-agent: {error}\n")
    finally:
        network.close()
    parts.slot.end()
    return 2 if failed else 0
