"""Errors as RFC 9457 problem details. The one table from error to HTTP status lies here.

Whatever a route raises ends here: a programming mistake is one line in the log and a 500, never a traceback.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_agent.desk.refusals import Conflict, Forbidden, NotFound, NotSignedIn, TooLarge, TooOften
from edge_agent.journal import note
from runtime.contracts.errors import StationFault, TouchstoneError, TryLater, Unsupported, Untrusted

RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a class of errors looks on the wire."""

    status: int
    slug: str
    title: str


KINDS: Mapping[type[TouchstoneError], Kind] = {
    TryLater: Kind(status=503, slug="try-later", title="Try again later"),
    TooOften: Kind(status=429, slug="too-often", title="Too many tries"),
    Untrusted: Kind(status=400, slug="untrusted", title="Not taken"),
    NotSignedIn: Kind(status=401, slug="not-signed-in", title="Not signed in"),
    Forbidden: Kind(status=403, slug="forbidden", title="Not allowed"),
    Unsupported: Kind(status=422, slug="unsupported", title="Cannot be used"),
    NotFound: Kind(status=404, slug="not-found", title="Not found"),
    Conflict: Kind(status=409, slug="conflict", title="In conflict"),
    TooLarge: Kind(status=413, slug="too-large", title="Too large"),
    StationFault: Kind(status=503, slug="fault", title="A person must act at the station"),
}
_OF_STATUS: Mapping[int, tuple[str, str]] = {
    404: ("not-found", "Not found"),
    405: ("method", "Not allowed here"),
}


def problem(status: int, slug: str, title: str, detail: str) -> JSONResponse:
    """Build a problem response; ``type`` is ``/problems/SLUG``."""
    body = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else None
    return JSONResponse(body, status_code=status, media_type="application/problem+json", headers=headers)


def problem_of(error: TouchstoneError) -> JSONResponse:
    """Build the response to an error of ours, by the entry of its nearest class in the table."""
    kind = next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)
    return problem(kind.status, kind.slug, kind.title, str(error))


async def touchstone_problem(_: Request, error: Exception) -> Response:
    """Answer an error of ours."""
    assert isinstance(error, TouchstoneError)
    return problem_of(error)


async def http_problem(_: Request, error: Exception) -> Response:
    """Answer an error that the framework raised."""
    assert isinstance(error, HTTPException)
    slug, title = _OF_STATUS.get(error.status_code, ("http", "Not taken"))
    response = problem(error.status_code, slug, title, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def mistake(_: Request, __: Exception) -> Response:
    """Answer a crash of a route; the framework raises it again afterwards, for ``NoTraceback``."""
    return problem(500, "mistake", "A mistake in this program", "the station's log says where; please report it")


class NoTraceback:
    """ASGI middleware: a crash that was answered is noted in one line, and goes no further."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the one place where a crash of the desk is caught
            where = traceback.format_exception(error)[-2].strip().replace("\n", " ")
            note("crashed", loop="desk", why=f"{type(error).__name__}: {error}", where=where)
