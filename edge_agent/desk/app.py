"""The desk's composition root and its table of routes. Nothing else constructs what they work with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from email.utils import formatdate

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_agent.agent import Parts
from edge_agent.desk import record_routes, scans, session_routes, station_routes
from edge_agent.desk.access import Access, Door, Rules
from edge_agent.desk.camera import Camera
from edge_agent.desk.problems import NoTraceback, http_problem, mistake, touchstone_problem
from edge_agent.desk.services import Desk
from edge_agent.desk.sessions import Sessions
from runtime.contracts.errors import TouchstoneError

_SESSION = "/v1/sessions/{session_id}"
ROUTES: tuple[BaseRoute, ...] = (
    Route("/", station_routes.page),
    Route("/login", station_routes.login, methods=["POST"]),
    Route("/healthz", station_routes.healthz),
    Route("/metrics", station_routes.metrics),
    Route("/openapi.json", station_routes.openapi),
    Route("/scans", scans.scan, methods=["POST"]),
    Route("/v1/state", station_routes.state),
    Route("/v1/sessions", session_routes.unfinished),
    Route("/v1/sessions", session_routes.begin, methods=["POST"]),
    Route(_SESSION, session_routes.show),
    Route(_SESSION, session_routes.cancel, methods=["DELETE"]),
    Route(_SESSION + "/photos/{view}", session_routes.put_photo, methods=["PUT"]),
    Route(_SESSION + "/photos/{view}", session_routes.drop_photo, methods=["DELETE"]),
    Route(_SESSION + "/photos/{view}/refused", session_routes.refused_photo),
    Route(_SESSION + "/finish", session_routes.finish, methods=["POST"]),
    Route("/v1/records", record_routes.page),
    Route("/v1/records/{record_id}", record_routes.show),
    Route("/v1/records/{record_id}/objection", record_routes.object_to, methods=["POST"]),
    Route("/v1/photos/{sha256}", record_routes.photo),
    Route("/v1/references/{view}/{number}", record_routes.reference),
    Route("/v1/inbox", record_routes.inbox),
    Route("/v1/inbox/read", record_routes.read, methods=["POST"]),
    Route("/v1/camera.jpg", station_routes.camera_still),
    Route("/v1/camera.mjpg", station_routes.camera_stream),
    Route("/v1/update/defer", station_routes.defer, methods=["POST"]),
    Mount("/static", StaticFiles(directory=station_routes.STATIC, check_dir=False)),
)

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' blob:; media-src 'self' blob:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class Headers:
    """ASGI middleware around everything: the headers that every answer carries."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        caching = "no-cache" if scope["path"].startswith("/static/") else "no-store"

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, "Cache-Control": caching}.items():
                    headers.setdefault(name, value)
                headers["Date"] = formatdate(usegmt=True)
            await send(message)

        await self._app(scope, receive, sending)


def build_desk(parts: Parts, stopping: threading.Event, on_record: Callable[[], None]) -> Desk:
    """Build what the routes work with.

    Args:
        parts: the daemon's.
        stopping: set when the agent stops.
        on_record: called after each decision and objection.
    """
    return Desk(
        parts=parts,
        sessions=Sessions(outbox=parts.outbox, photos=parts.photos, station=parts.station, model=parts.slot.require),
        camera=None if parts.config.camera is None else Camera(parts.config.camera),
        stopping=stopping,
        on_record=on_record,
    )


def build_app(desk: Desk, rules: Rules | None) -> ASGIApp:
    """Build the app; without rules it is for whoever the file system lets reach its socket."""
    door = Door(rules.pin if rules else None)
    app = Starlette(
        routes=ROUTES,
        exception_handlers={
            TouchstoneError: touchstone_problem,
            HTTPException: http_problem,
            Exception: mistake,
        },
    )
    app.router.redirect_slashes = False
    app.state.desk, app.state.door = desk, door
    guarded = NoTraceback(app)
    return Headers(Access(guarded, rules, door) if rules else guarded)
