"""Routes of the station itself: how it stands, its camera, its update, signing in, the page, metrics and health."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from edge_agent.desk.access import COOKIE, SIGNED_IN_FOR_S, Door
from edge_agent.desk.bodies import read_json
from edge_agent.desk.camera import Camera
from edge_agent.desk.refusals import NotFound
from edge_agent.desk.services import Desk, desk_of, now, say
from edge_agent.desk.station_state import locked, state_of
from edge_agent.metrics import prometheus_text
from runtime.contracts.errors import StationFault, TryLater, Unsupported

STATIC = Path(__file__).parent / "static"
OPENAPI = Path(__file__).parent / "openapi.json"
FRAMES_A_SECOND = 15
_PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """``POST /login``."""

    pin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer:
    """``POST /v1/update/defer``; 0 hours: no longer."""

    hours: float


async def page(_: Request) -> Response:
    """Give the page."""
    if not (STATIC / "index.html").is_file():
        raise NotFound("page: it was not installed with this agent; the routes of /openapi.json work without it")
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


async def openapi(_: Request) -> Response:
    """Give the description of this API."""
    return FileResponse(OPENAPI, media_type="application/json")


async def login(request: Request) -> Response:
    """Let in who knows the PIN."""
    door = request.app.state.door
    assert isinstance(door, Door)
    asked = await read_json(request, Login, "login")
    if not door.has_pin:
        raise NotFound("sign-in: this desk has no PIN, as only this very machine reaches it")
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE, door.enter(asked.pin), max_age=SIGNED_IN_FOR_S, httponly=True, samesite="strict", secure=True
    )
    return response


async def state(request: Request) -> Response:
    """Tell how the station stands; to who has not signed in, only its name."""
    desk = desk_of(request)
    if not request.scope.get("state", {}).get("signed_in", True):
        return say(locked(desk))
    return say(await desk.blocking(state_of, desk))


async def healthz(request: Request) -> Response:
    """Tell whether an item could be scanned now."""
    desk = desk_of(request)
    await desk.blocking(desk.can_scan)
    return say({"status": "ok"})


async def metrics(request: Request) -> Response:
    """Give what the agent has counted."""
    desk = desk_of(request)
    text = await desk.blocking(prometheus_text, desk.parts.metrics)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def defer(request: Request) -> Response:
    """Let no new model run for some hours."""
    desk = desk_of(request)
    asked = await read_json(request, Defer, "defer")
    if not 0.0 <= asked.hours <= 24.0:
        raise Unsupported(f"hours: expected 0 to 24, got {asked.hours}")
    await desk.blocking(desk.parts.slot.defer, now() + timedelta(hours=asked.hours))
    return Response(status_code=204)


async def camera_still(request: Request) -> Response:
    """Give one frame of the station's own camera."""
    desk = desk_of(request)
    _, jpeg = await desk.looking(desk.require_camera().preview)
    return Response(jpeg, media_type="image/jpeg")


async def camera_stream(request: Request) -> Response:
    """Show what the station's own camera sees, until the client has seen enough."""
    desk = desk_of(request)
    camera = desk.require_camera()
    if not desk.streams.available_tokens:
        raise TryLater("camera: as many pages as may look through it already; close one of them")
    first = await desk.looking(camera.preview)
    frames = _frames(desk, camera, first)
    return StreamingResponse(frames, media_type="multipart/x-mixed-replace; boundary=frame")


async def _frames(desk: Desk, camera: Camera, first: tuple[int, bytes]) -> AsyncIterator[bytes]:
    shown, jpeg = first
    seat = object()  # not of this task: a stream whose client has gone may be closed by another
    try:
        desk.streams.acquire_on_behalf_of_nowait(seat)
    except anyio.WouldBlock:
        return
    try:
        while not desk.stopping.is_set():
            begun_s = time.monotonic()
            yield _PART % (len(jpeg), jpeg)
            await anyio.sleep(max(0.0, begun_s + 1 / FRAMES_A_SECOND - time.monotonic()))
            shown, jpeg = await desk.looking(camera.preview, shown)
    except StationFault:
        return  # the state says why
    finally:
        desk.streams.release_on_behalf_of(seat)
