"""Errors as RFC 9457 problem details. The one table from error to HTTP status lies here.

A validation error names the place and what was expected, and never repeats the value: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runtime.contracts.errors import StationFault, TouchstoneError, TryLater, Unsupported, Untrusted
from runtime.contracts.sync import UPLOAD_OFFSET
from sync_server.refusals import (
    ClockOff,
    Conflict,
    Forbidden,
    NotFound,
    PhotosMissing,
    Unauthenticated,
    UploadSpoilt,
    WrongOffset,
)

RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a class of errors looks on the wire."""

    status: int
    slug: str
    title: str


KINDS: Mapping[type[TouchstoneError], Kind] = {
    TryLater: Kind(status=503, slug="try-later", title="Try again later"),
    PhotosMissing: Kind(status=409, slug="photos-missing", title="Photos are missing"),
    WrongOffset: Kind(status=409, slug="wrong-offset", title="It goes on elsewhere"),
    UploadSpoilt: Kind(status=400, slug="upload-spoilt", title="Not the promised bytes"),
    Untrusted: Kind(status=400, slug="untrusted", title="Not taken"),
    Unauthenticated: Kind(status=401, slug="unauthenticated", title="Not signed in"),
    ClockOff: Kind(status=401, slug="clock", title="The clock is off"),
    Forbidden: Kind(status=403, slug="forbidden", title="Not allowed"),
    Unsupported: Kind(status=422, slug="unsupported", title="Cannot be used"),
    NotFound: Kind(status=404, slug="not-found", title="Not found"),
    Conflict: Kind(status=409, slug="conflict", title="In conflict"),
    StationFault: Kind(status=507, slug="fault", title="A person must act on the server"),
}


def kind_of(error: TouchstoneError) -> Kind:
    """Return how an error looks on the wire: the entry of its nearest class in the table."""
    return next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)


def install(app: FastAPI) -> None:
    """Make the app answer every error as a problem."""
    app.add_exception_handler(TouchstoneError, touchstone_problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(Exception, _programming_mistake)


def problem(status: int, slug: str, title: str, detail: str, **more: object) -> JSONResponse:
    """Build a problem response; ``type`` is ``/problems/SLUG``."""
    body = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def touchstone_problem(_: Request, error: Exception) -> Response:
    """Answer an error of ours."""
    assert isinstance(error, TouchstoneError)
    kind = kind_of(error)
    more = {"missing": error.missing} if isinstance(error, PhotosMissing) else {}
    response = problem(kind.status, kind.slug, kind.title, str(error), **more)
    if isinstance(error, WrongOffset | UploadSpoilt):
        response.headers[UPLOAD_OFFSET] = str(error.offset)
    if kind.status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    if kind.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _programming_mistake(_: Request, __: Exception) -> Response:
    # the framework raises it again afterwards, so the traceback is in the server's log
    return problem(500, "mistake", "A mistake in this program", "the server's log has the details; please report it")


def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"at": ".".join(map(str, found["loc"])), "expected": found["msg"]} for found in error.errors()]
    detail = "; ".join(f"{found['at']}: {found['expected']}" for found in errors[:3])
    return problem(422, "invalid", "The request is not valid", detail, errors=errors)


def http_problem(_: Request, error: Exception) -> Response:
    """Answer an error that the framework raised."""
    assert isinstance(error, HTTPException)
    slug = {404: "not-found", 405: "method", 413: "too-large"}.get(error.status_code, "http")
    response = problem(error.status_code, slug, "Not found" if slug == "not-found" else "Refused", str(error.detail))
    response.headers.update(error.headers or {})
    return response
