"""The composition root of the web process: settings in, a FastAPI app out. Nothing else constructs what it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from runtime.contracts.errors import StationFault
from sync_server.api import cases, datasets, features, intake, people, problems, releases, stations
from sync_server.api.callers import Services
from sync_server.api.limits import Limits
from sync_server.blobs import Blobs
from sync_server.schema import utc_now
from sync_server.settings import Settings
from sync_server.store import Store
from sync_server.uploads import KEPT_S, Uploads
from sync_server.web import docs, pages

TITLE = "Touchstone"
UNFINISHED_S = 3600
"""How long no byte has come of an upload that is given up at the next start."""


def create_app(settings: Settings, now: Callable[[], datetime] = utc_now) -> FastAPI:
    """Build the app; on the way the tables are brought up to date, and files that a crash left unfinished deleted.

    Args:
        settings: an initialised server's.
        now: the clock, timezone-aware.

    Raises:
        StationFault: the home is damaged, or the database is of a newer version.
        TryLater: the database is away.
    """
    services = build_services(settings, now)
    services.store.migrate()
    services.blobs.sweep(services.now().timestamp() - UNFINISHED_S)
    services.uploads.sweep(services.now().timestamp() - KEPT_S)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        services.store.close()

    app = FastAPIOffline(None, None, title=TITLE, version="1", lifespan=lifespan, openapi_url="/openapi.json")
    app.state.services = services
    problems.install(app)
    for routes in (stations, intake, cases, releases, datasets, people, features):
        app.include_router(routes.router)
    app.add_api_route("/healthz", _healthz, methods=["GET"], tags=["health"])
    pages.install(app)
    docs.install(app)
    app.add_middleware(Limits)
    return app


def build_services(settings: Settings, now: Callable[[], datetime] = utc_now) -> Services:
    """Open what routes and commands work with.

    Raises:
        StationFault: the home is damaged.
    """
    try:
        secret = settings.audit_secret.read_bytes()
        blobs = Blobs(settings.blobs)
    except OSError as error:
        raise StationFault(f"{settings.home}: cannot be used ({error}); restore it from a copy") from error
    store = Store(settings.database)
    uploads = Uploads(blobs)
    return Services(settings=settings, store=store, blobs=blobs, uploads=uploads, audit_secret=secret, now=now)


def _healthz() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "ok"}
