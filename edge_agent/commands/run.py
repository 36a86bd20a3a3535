"""``touchstone-agent run``: the daemon. SIGTERM and SIGINT finish the scan in hand, begin no other, then end it.

Its loops, each on a thread of its own, held equal to ``LOOPS`` by a test. Seconds; a step that shows no progress for
longer than its silence hangs, and systemd restarts the agent. All that any of them knows is on disk.

========= ======= ======= ===== =====================================================================
loop      back-off silence grace when a neighbour is slow or fails
========= ======= ======= ===== =====================================================================
watch     5       120     -     scans go on: they share the disk with the others, nothing else
uplink    30      300     3     records wait in the outbox, for months if they must
update    300     300     3     the model that runs goes on; a trial may take as long as ``agent.toml`` says
proving   5       300     3     the model that runs goes on; its successor waits beside it, or what it follows
heartbeat 300     120     3     counts go on; a late message says its own time
========= ======= ======= ===== =====================================================================

The desk answers from the event loop that pings, and does in threads what blocks: should it block the loop, the pings
stop too.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.agent import Parts, Watch, build, hold_lock, restore_model, since_process_start_ms
from edge_agent.heartbeat import Heart
from edge_agent.home import Home
from edge_agent.journal import note
from edge_agent.metrics import ERRORS
from edge_agent.sd_notify import Notifier
from edge_agent.supervisor import Loop, Supervisor
from runtime.contracts.errors import TouchstoneError

if TYPE_CHECKING:
    from edge_agent.online import Online


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient the supervisor is with one loop; see ``Loop``."""

    longest_wait_s: float
    longest_silence_s: float
    grace_s: float | None


LOOPS: Mapping[str, Pace] = {
    "watch": Pace(longest_wait_s=5.0, longest_silence_s=120.0, grace_s=None),
    "uplink": Pace(longest_wait_s=30.0, longest_silence_s=300.0, grace_s=3.0),
    "update": Pace(longest_wait_s=300.0, longest_silence_s=300.0, grace_s=3.0),
    "proving": Pace(longest_wait_s=5.0, longest_silence_s=300.0, grace_s=3.0),
    "heartbeat": Pace(longest_wait_s=300.0, longest_silence_s=120.0, grace_s=3.0),
}


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Run until stopped, or once."""
    stopping = threading.Event()
    notifier = Notifier(os.environ)
    if not arguments.once:
        for number in (signal.SIGTERM, signal.SIGINT):  # until the supervisor takes them over
            signal.signal(number, lambda *_: stopping.set())
        if sys.stderr is not None:
            faulthandler.enable(sys.stderr)  # when the watchdog kills, the log shows where every thread stood
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
            notifier.ready(_standing(parts))
            asyncio.run(_daemon(parts, stopping, notifier))
        finally:
            parts.outbox.close()
    return 0


async def _daemon(parts: Parts, stopping: threading.Event, notifier: Notifier) -> None:
    network = _Network(parts, stopping)

    def on_record() -> None:
        for name in ("uplink", "proving"):
            supervisor.wake(name)

    watch = Watch(parts, on_record)
    steps: Mapping[str, Callable[[], float]] = {
        "watch": watch.step,
        "uplink": network.uplink_step,
        "update": network.update_step,
        "proving": parts.slot.advance,
        "heartbeat": Heart(parts).step,
    }
    supervisor = Supervisor(
        [_loop(name, step, LOOPS[name]) for name, step in steps.items()],
        stopping,
        notifier=notifier,
        status=lambda: _standing(parts),
        on_failure=lambda loop, family: parts.metrics.count(ERRORS, loop, family),
    )
    desk = asyncio.create_task(_desk(parts, stopping, supervisor))
    ended = await supervisor.run()
    await desk
    parts.slot.end()
    note("stopped", in_order=ended)
    if not ended:
        # A thread still waits for the network. All that matters is on disk already, so leave without it.
        sys.stdout.flush()
        os._exit(0)
    network.close()


def _loop(name: str, step: Callable[[], float], pace: Pace) -> Loop:
    return Loop(
        name=name,
        step=step,
        longest_wait_s=pace.longest_wait_s,
        longest_silence_s=pace.longest_silence_s,
        grace_s=pace.grace_s,
    )


def _standing(parts: Parts) -> str:
    current = parts.slot.current
    if current is None:
        return "no model yet: nothing is scanned"
    return f"scans with {current.ref.name} release {current.ref.release}, {current.ref.variant}"


async def _desk(parts: Parts, stopping: threading.Event, supervisor: Supervisor) -> None:
    """Serve the operator's desk beside the loops; whatever becomes of it, they go on."""
    if parts.config.desk_port == 0:
        return
    try:
        serving = await asyncio.to_thread(importlib.import_module, "edge_agent.desk.serving")
        await serving.serve(parts, stopping, supervisor.until_stopped, lambda: supervisor.wake("uplink"))
    except Exception as error:  # noqa: BLE001 - a desk that crashes must not take the scanning with it
        where = traceback.format_exception(error)[-2].strip().replace("\n", " ")
        note("crashed", loop="desk", why=f"{type(error).__name__}: {error}", where=where)


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
