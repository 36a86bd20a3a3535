"""Objections: a person at a station disagrees with a verdict, so an expert looks. Never changes a record."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from runtime.contracts.durable import ContentFolder, check_hash
from runtime.contracts.records import StationId
from runtime.contracts.sync import Objection, check_objection
from sync_server.cases import find_objection, read_record, reopen_case
from sync_server.intake import check_photos, open_case
from sync_server.refusals import Conflict, Forbidden, NotFound
from sync_server.schema import OBJECTIONS, RECORDS, stamp
from sync_server.store import insert_new


def take_objection(
    connection: Connection,
    record_id: str,
    station: StationId,
    objection: Objection,
    blobs: ContentFolder,
    now: datetime,
) -> bool:
    """Store an objection, and bring an expert to its record; tell whether it was new.

    A record without a case gets one, and a settled case is reopened; the same objection again does neither.

    Raises:
        NotFound: there is no such record.
        Forbidden: it is another station's.
        PhotosMissing: the record was no case, and some of its photos are not here.
        Conflict: another objection is stored for this record.
        Unsupported: it cannot be kept.
    """
    check_objection(objection)
    body = connection.execute(select(RECORDS.c.body).where(RECORDS.c.record_id == check_hash(record_id))).scalar()
    if body is None:
        raise NotFound(f"record {record_id[:12]}: is not here; send it before its objection")
    record = read_record(body)
    if record.station_id != station:
        raise Forbidden(f"record {record_id[:12]}: it is another station's")
    row = {"record_id": record_id, "text": objection.text, "made_at": objection.made_at, "received_at": stamp(now)}
    known = find_objection(connection, record_id)
    if known is None:
        check_photos(connection, record, blobs)
    if known is None and insert_new(connection, OBJECTIONS, row):
        if not open_case(connection, record, now):
            reopen_case(connection, record.record_id, now)
        return True
    if find_objection(connection, record_id) != objection:
        raise Conflict(f"record {record_id[:12]}: another objection is stored for it; it was not replaced")
    return False
