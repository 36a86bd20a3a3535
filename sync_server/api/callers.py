"""Who is calling, as dependencies: ``Caller`` for people, ``Device`` for stations; and what all routes work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import TryLater
from runtime.contracts.records import StationId
from sync_server.auth import Person, SignedRequest, person_of, station_of
from sync_server.blobs import Blobs
from sync_server.refusals import Unauthenticated
from sync_server.settings import Settings
from sync_server.store import Store
from sync_server.uploads import Uploads

TOKEN_COOKIE = "touchstone_token"  # noqa: S105 - a name, not a secret
_PERSON_SCHEME = HTTPBearer(auto_error=False, scheme_name="person", description="A token of 'touchstone-server person'")
_DEVICE_SCHEME = HTTPBearer(auto_error=False, scheme_name="station", description="A JWT that the station signs itself")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every route works with; made once, in ``create_app``."""

    settings: Settings
    store: Store
    blobs: Blobs
    uploads: Uploads
    audit_secret: bytes
    now: Callable[[], datetime]


def services_of(request: Request) -> Services:
    """Return the app's services."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def person_by_token(services: Services, token: str) -> Person:
    """Return whose token this is; see ``auth.person_of``."""
    with services.store.read() as connection:
        return person_of(connection, token)


def raw_path(request: Request) -> str:
    """Return the path with its query, as sent."""
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def bearer(request: Request) -> str | None:
    """Return the token that a request carries in its header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def _person(request: Request, _: Annotated[object, Depends(_PERSON_SCHEME)]) -> Person:
    token = bearer(request)
    if token is None and request.method in ("GET", "HEAD"):  # a cookie alone changes nothing: no CSRF
        token = request.cookies.get(TOKEN_COOKIE)
    if not token:
        raise Unauthenticated("sign-in: send 'Authorization: Bearer TOKEN'")
    return person_by_token(services_of(request), token)


async def _device(request: Request, _: Annotated[object, Depends(_DEVICE_SCHEME)]) -> StationId:
    token = bearer(request)
    if token is None:
        raise Unauthenticated("station token: send 'Authorization: Bearer JWT'")
    photo = request.path_params.get("sha256") if request.method == "PUT" else None
    try:
        body_sha256 = photo if isinstance(photo, str) else sha256_hex(await request.body())
    except ClientDisconnect as error:
        raise TryLater("body: the connection broke before its last byte; send it again") from error
    signed = SignedRequest(method=request.method, path=raw_path(request), body_sha256=body_sha256)
    services = services_of(request)

    def look_up() -> StationId:
        with services.store.read() as connection:
            return station_of(connection, token, signed, services.now())

    return await run_in_threadpool(look_up)


Shared = Annotated[Services, Depends(services_of)]
Caller = Annotated[Person, Depends(_person)]
Device = Annotated[StationId, Depends(_device)]
