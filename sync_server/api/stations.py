"""Routes of stations: enrol, what to run, what runs, how they do, what the experts said."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from runtime.contracts.records import StationId
from runtime.contracts.sync import (
    Answers,
    Assignment,
    EnrolAnswer,
    EnrolRequest,
    Heartbeat,
    StationHistory,
    StationReport,
)
from sync_server.api.bodies import strictly
from sync_server.api.callers import Caller, Device, Shared, bearer
from sync_server.auth import audit_key
from sync_server.cases import answers_after
from sync_server.devices import enrol, store_report
from sync_server.evidence import Evidence, SignedReport, evidence_of
from sync_server.fleet import Station, list_stations
from sync_server.heartbeats import KEPT, StoredHeartbeat, list_heartbeats, store_heartbeat
from sync_server.history import history_after
from sync_server.releases import assigned_target

router = APIRouter(prefix="/v1", tags=["stations"])


@router.post("/enrol")
def enrol_station(request: EnrolRequest, _: Annotated[None, strictly(EnrolRequest)], shared: Shared) -> EnrolAnswer:
    """Spend a one-time code. The same code with the same key gives the same answer again while it is valid."""
    with shared.store.write() as connection:
        station_id = enrol(connection, request, shared.now())
    return EnrolAnswer(
        station_id=station_id,
        audit_key=audit_key(shared.audit_secret, station_id),
        audit_share=shared.settings.audit_share,
    )


@router.get("/answers")
def answers(station: Device, shared: Shared, after: Annotated[int, Query(ge=0, lt=2**63)] = 0) -> Answers:
    """Return the experts' answers on this station's cases above a number, at most 500."""
    with shared.store.read() as connection:
        return answers_after(connection, station, after)


@router.get("/station/assignment")
def assignment(_: Device, shared: Shared) -> Assignment:
    """Return the TUF target path of the release that this station should run."""
    with shared.store.read() as connection:
        return Assignment(target=assigned_target(connection))


@router.get("/station/history")
def history(
    station: Device, shared: Shared, after: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None
) -> StationHistory:
    """Return this station's records after one of them; the device that takes a station over begins with them."""
    with shared.store.read() as connection:
        return history_after(connection, station, after)


async def _signed(request: Request) -> SignedReport:
    return SignedReport(body=await request.body(), token=bearer(request) or "")


@router.put("/station/report", status_code=204)
def report(
    body: StationReport,
    station: Device,
    signed: Annotated[SignedReport, Depends(_signed)],
    _: Annotated[None, strictly(StationReport)],
    shared: Shared,
) -> Response:
    """Keep what this station has shown that it runs, together with the token that proves it."""
    with shared.store.write() as connection:
        store_report(connection, station, body, shared.now(), signed)
    return Response(status_code=204)


@router.put("/station/heartbeats/{seq}", status_code=204)
def heartbeat(
    seq: Annotated[int, Path(ge=1, lt=2**63)],
    body: Heartbeat,
    station: Device,
    _: Annotated[None, strictly(Heartbeat)],
    shared: Shared,
) -> Response:
    """Keep what this station says of itself; the same again changes nothing."""
    with shared.store.write() as connection:
        store_heartbeat(connection, station, seq, body, shared.now())
    return Response(status_code=204)


@router.get("/stations/{station_id}/heartbeats")
def heartbeats(
    station_id: Annotated[str, Path(pattern="^st-[0-9a-f]{1,61}$")],
    _: Caller,
    shared: Shared,
    limit: Annotated[int, Query(ge=1, le=KEPT)] = 50,
) -> tuple[StoredHeartbeat, ...]:
    """Return what a station has said of itself, the newest first: counts, latencies, scores, versions."""
    with shared.store.read() as connection:
        return list_heartbeats(connection, station_id, limit)


@router.get("/stations/{station_id}/report")
def evidence(station_id: StationId, _: Caller, shared: Shared) -> Evidence:
    """Return a station's last report as it was signed: body, token and public key prove it to anybody."""
    with shared.store.read() as connection:
        return evidence_of(connection, station_id)


@router.get("/stations")
def stations(_: Caller, shared: Shared) -> tuple[Station, ...]:
    """List the stations: what each has shown, its last heartbeat in short, and when its device was replaced."""
    with shared.store.read() as connection:
        return list_stations(connection)
