"""Stations: one-time codes, enrolment, reports. Enrolling again with the same code and key gives the same answer.

A code may be for a new device of a station that is there already: spending it revokes the old device's key at once.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from runtime.contracts.codec import canonical_json
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import StationId, check_name
from runtime.contracts.sync import EnrolmentCode, EnrolRequest, StationReport
from sync_server.auth import token_hash
from sync_server.evidence import SignedReport, station_id_of
from sync_server.refusals import Forbidden, NotFound
from sync_server.schema import ENROLMENT_CODES, REVOKED_KEYS, STATIONS, stamp
from sync_server.store import insert_new

MAX_CODE_HOURS = 24 * 31
_PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")
_REFUSED = "enrolment code: it is wrong, used or expired; ask an admin for a new one"


def issue_code(
    connection: Connection, root: bytes, valid_hours: int, now: datetime, *, replaces: StationId | None = None
) -> EnrolmentCode:
    """Issue a one-time code.

    Args:
        connection: a writing transaction.
        root: the bytes of the first root metadata, which the code pins.
        valid_hours: 1 to 744.
        now: the clock.
        replaces: the station that a new device takes over; ``None``: the code makes a new station.

    Raises:
        NotFound: there is no such station.
        Unsupported: ``valid_hours`` is out of range.
    """
    if not 1 <= valid_hours <= MAX_CODE_HOURS:
        raise Unsupported(f"valid hours: expected 1 to {MAX_CODE_HOURS}, got {valid_hours}")
    if replaces is not None and _key_of(connection, check_name(replaces, "station id")) is None:
        raise NotFound(f"station {replaces[:80]!r}: there is none of this id; see the page of stations")
    secret = base64.b32encode(secrets.token_bytes(10)).decode()
    row = {"secret_hash": token_hash(secret), "expires_at": stamp(now + timedelta(hours=valid_hours))}
    connection.execute(ENROLMENT_CODES.insert().values({**row, "replaces": replaces}))
    return EnrolmentCode(secret=secret, root_sha256=hashlib.sha256(root).hexdigest()[:32])


def enrol(connection: Connection, request: EnrolRequest, now: datetime) -> StationId:
    """Spend a code on a station's public key.

    Raises:
        Forbidden: the code is wrong, expired, or was spent on another key; or the key is not free.
        Unsupported: the key or name cannot be used.
    """
    if not _PUBLIC_KEY.fullmatch(request.public_key):
        raise Unsupported("public_key: expected the raw Ed25519 key in 64 lower-case hex digits")
    check_name(request.name, "station name")
    spent = token_hash(request.secret)
    code = connection.execute(
        select(ENROLMENT_CODES).where(ENROLMENT_CODES.c.secret_hash == spent).with_for_update()
    ).one_or_none()
    if code is None or code.expires_at < stamp(now):
        raise Forbidden(_REFUSED)
    if code.used_by is not None:
        if _key_of(connection, code.used_by) != request.public_key:
            raise Forbidden(_REFUSED)
        return StationId(code.used_by)
    if connection.execute(select(REVOKED_KEYS).where(REVOKED_KEYS.c.public_key == request.public_key)).first():
        raise Forbidden("enrolment: this device's key was replaced by another device's; enrol it with a new --home")
    holder = connection.execute(select(STATIONS.c.id).where(STATIONS.c.public_key == request.public_key)).scalar()
    if code.replaces is not None:
        station_id = StationId(code.replaces)
        if holder not in (None, station_id):
            raise Forbidden("enrolment: this device is another station already; enrol it with a new --home")
        _replace_device(connection, station_id, request, now)
    elif holder is not None:
        station_id = StationId(holder)
    else:
        station_id = station_id_of(request.public_key)
        row = {"id": station_id, "name": request.name, "public_key": request.public_key, "enrolled_at": stamp(now)}
        insert_new(connection, STATIONS, {**row, "answers": 0})
    connection.execute(update(ENROLMENT_CODES).where(ENROLMENT_CODES.c.secret_hash == spent).values(used_by=station_id))
    return station_id


def _replace_device(connection: Connection, station_id: StationId, request: EnrolRequest, now: datetime) -> None:
    mine = STATIONS.c.id == station_id
    old = connection.execute(select(STATIONS.c.public_key).where(mine).with_for_update()).scalar_one()
    if old != request.public_key:
        revoked = {"public_key": old, "station_id": station_id, "revoked_at": stamp(now)}
        connection.execute(REVOKED_KEYS.insert().values(revoked))
    values = {"public_key": request.public_key, "name": request.name, "report_body": None, "report_token": None}
    connection.execute(update(STATIONS).where(mine).values(values))


def store_report(
    connection: Connection,
    station_id: StationId,
    report: StationReport,
    now: datetime,
    signed: SignedReport | None = None,
) -> None:
    """Keep the newest word of a station on itself, and what proves that it is the station's."""
    values = {
        "report": canonical_json(report).decode(),
        "report_body": signed and signed.body,
        "report_token": signed and signed.token,
        "last_seen": stamp(now),
    }
    connection.execute(update(STATIONS).where(STATIONS.c.id == station_id).values(values))


def _key_of(connection: Connection, station_id: str) -> str | None:
    return connection.execute(select(STATIONS.c.public_key).where(STATIONS.c.id == station_id)).scalar_one_or_none()
