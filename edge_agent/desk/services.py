"""What every route works with, and how a route does what blocks: in a thread, never on the loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse

from edge_agent.agent import Parts, note_decision
from edge_agent.desk.camera import Camera
from edge_agent.desk.sessions import Sessions
from edge_agent.disk import free_bytes
from edge_agent.station import Scanned
from runtime.contracts.errors import StationFault, Unsupported

T = TypeVar("T")

_THREADS = 4
_LARGE = 3
"""Photos and scans at a time that are on their way in: each is held in memory."""
_STREAMS = 4
"""Pages that look through the station's camera at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The desk's parts. ``camera`` is the station's own, if it has one; ``stopping`` is set when the agent stops."""

    parts: Parts
    sessions: Sessions
    camera: Camera | None
    stopping: threading.Event
    on_record: Callable[[], None]
    threads: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _THREADS))
    large: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _LARGE))
    streams: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _STREAMS))
    eyes: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _STREAMS + 2))

    async def blocking(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Do in a thread what may wait for the disk, a lock or the engine."""
        return await to_thread.run_sync(partial(work, *arguments, **named), limiter=self.threads)

    async def looking(self, look: Callable[..., T], *arguments: Any) -> T:
        """Do in a thread what waits for the camera; one that hangs keeps no scan waiting."""
        return await to_thread.run_sync(partial(look, *arguments), limiter=self.eyes)

    def views(self) -> tuple[str, ...]:
        """Return the views of the running model; none without one."""
        current = self.parts.slot.current
        return () if current is None else current.inspector.bundle.manifest.views

    def require_camera(self) -> Camera:
        """Return the station's own camera.

        Raises:
            Unsupported: it has none.
        """
        if self.camera is None:
            raise Unsupported("camera: this station has none of its own; set 'camera' in agent.toml, or send a photo")
        return self.camera

    def decided(self, scanned: Scanned, started_ns: int) -> None:
        """Tell the log, and the uplink, of a decision."""
        note_decision(scanned, (time.monotonic_ns() - started_ns) // 1000, "desk")
        self.on_record()

    def can_scan(self) -> None:
        """Return if an item could be scanned now.

        Raises:
            StationFault: it could not, and why.
        """
        self.parts.slot.require()
        why = disk_fault(self.parts)
        if why is not None:
            raise StationFault(why)


def disk_fault(parts: Parts) -> str | None:
    """Return why the disk lets nobody scan, if it does not. Frees nothing."""
    free = free_bytes(parts.photos.root)
    if free >= parts.config.min_free_bytes:
        return None
    with parts.outbox.reading() as db:
        droppable = db.execute("SELECT 1 FROM record WHERE is_case = 0 AND photos_dropped = 0 LIMIT 1").fetchone()
    if droppable is not None:
        return None
    return f"disk: {free >> 20} MiB free, {parts.config.min_free_bytes >> 20} MiB wanted; free some space"


def desk_of(request: Request) -> Desk:
    """Return what the routes work with."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def say(data: object, status: int = 200) -> JSONResponse:
    """Answer with JSON."""
    return JSONResponse(data, status_code=status)
