"""Routes of the guided items. Each hands its work to ``sessions`` in a thread and shows what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from edge_agent.desk import views
from edge_agent.desk.bodies import number, read_body, read_json
from edge_agent.desk.record_routes import shown_record
from edge_agent.desk.services import desk_of, say
from edge_agent.metrics import PHOTOS_REFUSED
from runtime.contracts.records import MAX_PHOTO_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """``POST /v1/sessions``."""

    item_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """``POST /v1/sessions/{id}/finish``: listing features, if there are any."""

    listing: Mapping[str, float | None] | None = None


async def begin(request: Request) -> Response:
    """Begin an item."""
    desk = desk_of(request)
    asked = await read_json(request, Begin, "session")
    begun = await desk.blocking(desk.sessions.begin, asked.item_id)
    return say(views.session(begun, desk.views()), 201)


async def unfinished(request: Request) -> Response:
    """List the items that are not finished."""
    desk = desk_of(request)
    found = await desk.blocking(desk.sessions.unfinished)
    return say({"sessions": [views.session(begun, desk.views()) for begun in found]})


async def show(request: Request) -> Response:
    """Show one item."""
    desk = desk_of(request)
    begun = await desk.blocking(desk.sessions.show, request.path_params["session_id"])
    return say(views.session(begun, desk.views()))


async def cancel(request: Request) -> Response:
    """Forget an item."""
    desk = desk_of(request)
    await desk.blocking(desk.sessions.cancel, request.path_params["session_id"])
    return Response(status_code=204)


async def put_photo(request: Request) -> Response:
    """Take a photo, from the body or with the station's own camera."""
    desk = desk_of(request)
    session_id, view = request.path_params["session_id"], request.path_params["view"]
    keep = number(request, "keep", 0, 0, 1) == 1
    if number(request, "refused", 0, 0, 1) == 1:
        photo = await desk.blocking(desk.sessions.refused, session_id, view)
        taken = await desk.blocking(desk.sessions.put, session_id, view, photo, keep=True)
    elif number(request, "camera", 0, 0, 1) == 1:
        await desk.blocking(desk.sessions.show, session_id)
        frame = await desk.looking(desk.require_camera().frame)
        taken = await desk.blocking(desk.sessions.put, session_id, view, frame, keep=keep)
    else:
        async with desk.large:
            photo = await read_body(request, MAX_PHOTO_BYTES)
            taken = await desk.blocking(desk.sessions.put, session_id, view, photo, keep=keep)
    for problem in taken.problems if taken.sha256 is None else ():
        desk.parts.metrics.count(PHOTOS_REFUSED, problem.code)
    return say(views.taken(taken))


async def refused_photo(request: Request) -> Response:
    """Give the photo that was not kept, as the operator is to see what is wrong with it."""
    desk = desk_of(request)
    photo = await desk.blocking(desk.sessions.refused, request.path_params["session_id"], request.path_params["view"])
    return Response(photo, media_type="image/jpeg")


async def drop_photo(request: Request) -> Response:
    """Take a photo back."""
    desk = desk_of(request)
    await desk.blocking(desk.sessions.drop, request.path_params["session_id"], request.path_params["view"])
    return Response(status_code=204)


async def finish(request: Request) -> Response:
    """Decide about an item."""
    desk = desk_of(request)
    asked = await read_json(request, Finish, "finish")
    started_ns = time.monotonic_ns()
    scanned = await desk.blocking(desk.sessions.finish, request.path_params["session_id"], asked.listing)
    desk.decided(scanned, started_ns)
    return say(await desk.blocking(shown_record, desk, scanned.record, again=scanned.again))
