"""The routes of the pages. Each reads or labels through the same functions as the API, and renders a template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from runtime.contracts.errors import TouchstoneError
from runtime.contracts.records import SHOWN, Label
from sync_server.api import problems
from sync_server.api.callers import Shared, person_by_token
from sync_server.auth import Person
from sync_server.cases import (
    CaseDetail,
    CaseState,
    count_open,
    label_case,
    list_cases,
    may_label,
    next_open,
    show_case,
)
from sync_server.fleet import list_stations
from sync_server.refusals import NotFound, Unauthenticated
from sync_server.releases import list_releases
from sync_server.web import wording
from sync_server.web.session import Form, Visitor, forget_token, keep_token

PAGE_SIZE = 40
_HERE = Path(__file__).parent
_LABELS: dict[str, Label] = {"genuine": "genuine", "counterfeit": "counterfeit"}
_STATES: dict[str, CaseState] = {"open": "open", "resolved": "resolved"}
router = APIRouter(include_in_schema=False)
_templates = Jinja2Templates(directory=_HERE / "templates")


def install(app: FastAPI) -> None:
    """Add the pages, their static files, and errors that read as pages to those who look at pages."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.add_exception_handler(TouchstoneError, _touchstone_error)
    app.add_exception_handler(HTTPException, _http_error)


@router.get("/")
def home(request: Request, person: Visitor, shared: Shared, state: str = "open", after: str | None = None) -> Response:
    """Show the list of cases."""
    shown = _STATES.get(state, "open")
    with shared.store.read() as connection:
        page = list_cases(connection, person, shown, after, PAGE_SIZE)
        waiting = count_open(connection)
        first = next_open(connection, person) if may_label(person) else None
    rows = [(case, wording.case_state(case), wording.waited(case, shared.now())) for case in page.cases]
    more: dict[str, Any] = {
        "state": shown,
        "waiting": waiting,
        "first": first,
        "rows": rows,
        "next_after": page.next_after,
    }
    return _page(request, "cases.html", person, **more, saved=request.query_params.get("saved"))


@router.get("/cases/{record_id}")
def case(record_id: str, request: Request, person: Visitor, shared: Shared) -> Response:
    """Show one case."""
    with shared.store.read() as connection:
        detail = show_case(connection, person, record_id)
        waiting = count_open(connection)
    more: dict[str, Any] = {"detail": detail, "waiting": waiting, "saved": request.query_params.get("saved")}
    return _page(request, "case.html", person, **more, **_words(detail, shared))


@router.post("/cases/{record_id}/label")
def label(record_id: str, fields: Form, person: Visitor, shared: Shared) -> Response:
    """Take a label and go on to the next case."""
    given = _LABELS.get(fields.get("label", ""))
    if given is None:
        raise NotFound("label: expected genuine or counterfeit")
    with shared.store.write() as connection:
        label_case(connection, person, record_id, given, shared.settings.labels_needed, shared.now())
        following = next_open(connection, person)
    return _go_to(f"/cases/{following}?saved={record_id}" if following else f"/?saved={record_id}")


@router.get("/stations")
def stations(request: Request, person: Visitor, shared: Shared) -> Response:
    """Show what each station has shown that it runs."""
    with shared.store.read() as connection:
        known = list_stations(connection)
        releases = list_releases(connection)
    newest = releases[0] if releases else None
    now = shared.now()
    rows = [
        {
            "station": station,
            "state": wording.station_state(station, newest.release if newest else None, now),
            "runs": wording.what_runs(station),
            "devices": wording.devices(station, now),
            "seen": wording.ago(station.last_seen, now),
            "heartbeat": wording.ago(station.heartbeat.received_at if station.heartbeat else None, now),
        }
        for station in known
    ]
    return _page(request, "stations.html", person, rows=rows, newest=newest)


@router.get("/login")
def login_page(request: Request) -> Response:
    """Ask for a token."""
    return _page(request, "login.html", None, refused=None)


@router.post("/login")
def login(request: Request, fields: Form, shared: Shared) -> Response:
    """Take a token and keep it in a cookie."""
    token = fields.get("token", "").strip()
    try:
        person_by_token(shared, token)
    except Unauthenticated:
        return _page(
            request, "login.html", None, status=401, refused="This token is not known here. Did you copy all of it?"
        )
    response = _go_to("/")
    keep_token(request, response, token)
    return response


@router.post("/logout")
def logout(_: Form) -> Response:
    """Forget the token."""
    response = _go_to("/login")
    forget_token(response)
    return response


def _words(detail: CaseDetail, shared: Shared) -> dict[str, Any]:
    record = detail.record
    return {
        "tone": wording.case_state(detail.case),
        "waited": wording.waited(detail.case, shared.now()),
        "listing": [(wording.feature_name(n), wording.feature_value(v)) for n, v in (record.listing or {}).items()],
        "verdict": SHOWN[record.verdict],
        "p_counterfeit": wording.percent(record.prediction.p_counterfeit),
        "p_fraud": wording.percent(record.prediction.p_fraud),
    }


def _page(request: Request, template: str, person: Person | None, *, status: int = 200, **context: Any) -> Response:
    can_label = person is not None and may_label(person)
    context |= {"person": person, "may_label": can_label, "path": request.url.path}
    return _templates.TemplateResponse(request, template, context, status_code=status)


def _go_to(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith("/v1/") and "text/html" in request.headers.get("Accept", "")


def _touchstone_error(request: Request, error: Exception) -> Response:
    if not _wants_page(request):
        return problems.touchstone_problem(request, error)
    if isinstance(error, Unauthenticated):
        return _go_to("/login")
    assert isinstance(error, TouchstoneError)
    kind = problems.kind_of(error)
    return _page(request, "refused.html", None, status=kind.status, title=kind.title, detail=str(error))


def _http_error(request: Request, error: Exception) -> Response:
    if not _wants_page(request):
        return problems.http_problem(request, error)
    assert isinstance(error, HTTPException)
    detail = "There is no page at this address." if error.status_code == 404 else str(error.detail)
    return _page(request, "refused.html", None, status=error.status_code, title="Not here", detail=detail)
