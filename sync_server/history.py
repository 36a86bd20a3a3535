"""What a station has recorded, as this server has it: for the device that takes over the station's identity."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, tuple_

from runtime.contracts.durable import check_hash
from runtime.contracts.records import StationId
from runtime.contracts.sync import StationHistory
from sync_server.cases import read_record
from sync_server.refusals import NotFound
from sync_server.schema import RECORDS

MAX_RECORDS = 500
MAX_BYTES = 2 * 1024 * 1024
"""Where a page ends, so that it stays below what a station reads of one answer."""


def history_after(connection: Connection, station_id: StationId, after: str | None) -> StationHistory:
    """Return a station's records after ``after``, the last record of the page before, in the order of their coming.

    Raises:
        NotFound: the station has no record ``after``.
    """
    mine = RECORDS.c.station_id == station_id
    key = tuple_(RECORDS.c.received_at, RECORDS.c.record_id)
    query = select(RECORDS.c.body).where(mine).order_by(RECORDS.c.received_at, RECORDS.c.record_id)
    if after is not None:
        last = select(RECORDS.c.received_at).where(mine, RECORDS.c.record_id == check_hash(after))
        received_at = connection.execute(last).scalar_one_or_none()
        if received_at is None:
            raise NotFound(f"record {after[:12]}: this station has none of this id")
        query = query.where(key > tuple_(received_at, after))
    bodies: list[str] = []
    size = 0
    for body in connection.execute(query.limit(MAX_RECORDS)).scalars():
        size += len(body.encode())
        if bodies and size > MAX_BYTES:
            break
        bodies.append(body)
    total = connection.execute(select(func.count()).select_from(RECORDS).where(mine)).scalar_one()
    return StationHistory(records=tuple(map(read_record, bodies)), total=total)
