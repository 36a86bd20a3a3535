"""What stations say of themselves: the newest heartbeats of each, for the people who look after them.

Idempotent by station and number. They prove nothing and are no evidence, so a number that comes with another body, as
from a station that lost its outbox, replaces the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.records import StationId
from runtime.contracts.sync import Heartbeat
from sync_server.refusals import NotFound
from sync_server.schema import HEARTBEATS, STATIONS, stamp
from sync_server.store import insert_new

KEPT = 288
"""Of each station: a day's, at its usual pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHeartbeat:
    """One message, its number at the station, and when it came, ISO 8601 in UTC."""

    seq: int
    received_at: str
    heartbeat: Heartbeat


def store_heartbeat(
    connection: Connection, station_id: StationId, seq: int, heartbeat: Heartbeat, now: datetime
) -> bool:
    """Keep a message, and the newest ``KEPT`` of its station; tell whether it was new."""
    values = {"body": canonical_json(heartbeat).decode(), "received_at": stamp(now)}
    mine = HEARTBEATS.c.station_id == station_id
    new = insert_new(connection, HEARTBEATS, {"station_id": station_id, "seq": seq, **values})
    if not new:
        other = HEARTBEATS.c.body != values["body"]
        connection.execute(update(HEARTBEATS).where(mine, HEARTBEATS.c.seq == seq, other).values(values))
    oldest_kept = connection.execute(
        select(HEARTBEATS.c.received_at).where(mine).order_by(HEARTBEATS.c.received_at.desc()).offset(KEPT - 1).limit(1)
    ).scalar()
    if oldest_kept is not None:
        connection.execute(delete(HEARTBEATS).where(mine, HEARTBEATS.c.received_at < oldest_kept))
    connection.execute(update(STATIONS).where(STATIONS.c.id == station_id).values(last_seen=stamp(now)))
    return new


def list_heartbeats(connection: Connection, station_id: str, limit: int) -> tuple[StoredHeartbeat, ...]:
    """Return a station's messages, the one that came last first.

    Raises:
        NotFound: there is no such station.
    """
    if connection.execute(select(STATIONS.c.id).where(STATIONS.c.id == station_id)).scalar() is None:
        raise NotFound(f"station {station_id[:80]!r}: is not enrolled here")
    newest = (HEARTBEATS.c.received_at.desc(), HEARTBEATS.c.seq.desc())
    rows = connection.execute(
        select(HEARTBEATS).where(HEARTBEATS.c.station_id == station_id).order_by(*newest).limit(limit)
    )
    return tuple(
        StoredHeartbeat(
            seq=row.seq,
            received_at=row.received_at,
            heartbeat=decode(Heartbeat, parse_json(row.body.encode(), "heartbeat"), "heartbeat"),
        )
        for row in rows
    )
