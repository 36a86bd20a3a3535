"""The stations as the people who look after them see them: who they are, what they have shown, how they do. Only reads.

A report is what a station has proved; a heartbeat is what it says, and proves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from runtime.contracts.codec import decode, parse_json
from runtime.contracts.records import ModelRef, StationId
from runtime.contracts.sync import Heartbeat, StationReport
from sync_server.schema import HEARTBEATS, REVOKED_KEYS, STATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class LastHeartbeat:
    """What a station last said of itself, in short; when it came, ISO 8601 in UTC."""

    received_at: str
    uptime_s: float
    model: ModelRef | None
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """An enrolled station; moments are ISO 8601 in UTC.

    Attributes:
        last_seen: when it last sent anything.
        devices_replaced: when a new device took over, every time, oldest first.
        report: what it has shown that it runs, how its newest release stands, and what is wrong with its clock.
        heartbeat: its last one.
    """

    station_id: StationId
    name: str
    enrolled_at: str
    last_seen: str | None
    devices_replaced: tuple[str, ...]
    report: StationReport | None
    heartbeat: LastHeartbeat | None


def list_stations(connection: Connection) -> tuple[Station, ...]:
    """Return every station, by name."""
    replaced, heartbeats = _replaced(connection), _last_heartbeats(connection)
    rows = connection.execute(select(STATIONS).order_by(STATIONS.c.name, STATIONS.c.id))
    return tuple(
        Station(
            station_id=row.id,
            name=row.name,
            enrolled_at=row.enrolled_at,
            last_seen=row.last_seen,
            devices_replaced=tuple(replaced[row.id]),
            report=decode(StationReport, parse_json(row.report.encode(), "report"), "report") if row.report else None,
            heartbeat=heartbeats.get(row.id),
        )
        for row in rows
    )


def _replaced(connection: Connection) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(select(REVOKED_KEYS).order_by(REVOKED_KEYS.c.revoked_at)):
        found[row.station_id].append(row.revoked_at)
    return found


def _last_heartbeats(connection: Connection) -> Mapping[str, LastHeartbeat]:
    mine = HEARTBEATS.c.station_id
    last = select(mine, func.max(HEARTBEATS.c.received_at).label("at")).group_by(mine).subquery()
    is_last = (mine == last.c.station_id) & (HEARTBEATS.c.received_at == last.c.at)
    return {
        row.station_id: _short(row.received_at, row.body)
        for row in connection.execute(select(HEARTBEATS).join(last, is_last).order_by(HEARTBEATS.c.seq))
    }


def _short(received_at: str, body: str) -> LastHeartbeat:
    said = decode(Heartbeat, parse_json(body.encode(), "heartbeat"), "heartbeat")
    return LastHeartbeat(received_at=received_at, uptime_s=said.uptime_s, model=said.model, versions=said.versions)
