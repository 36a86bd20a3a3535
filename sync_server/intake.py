"""Taking in photos and records, over the network or from a folder.

Everything is idempotent: by content hash, and by record id. A case is taken only when all of its photos are here, so a
case that a reviewer opens is never half a case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, select, update

from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import ContentFolder, check_hash
from runtime.contracts.errors import Untrusted
from runtime.contracts.records import Record, StationId, check_name, is_case
from sync_server.blobs import BlobWriter
from sync_server.cases import read_record
from sync_server.refusals import Conflict, Forbidden, PhotosMissing
from sync_server.schema import CASES, PHOTOS, RECORDS, STATIONS, stamp
from sync_server.store import Store, insert_new

MediaType = Literal["image/jpeg", "image/png", "image/webp"]
EXTENSIONS: dict[str, str] = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A stored photo: its SHA-256 in hex, its size in bytes, and what kind of file it is."""

    sha256: str
    size: int
    media_type: str


def sniff(head: bytes) -> MediaType:
    """Tell the kind of a photo from its first 12 bytes or more.

    Raises:
        Untrusted: it is no JPEG, PNG or WebP.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    raise Untrusted(f"photo: expected JPEG, PNG or WebP, got bytes that begin with {head[:8].hex()}")


def keep_photo(store: Store, writer: BlobWriter, sha256: str) -> bool:
    """Make a photo whose bytes are all written durable and known; tell whether it was new.

    Raises:
        Untrusted: it is no photo, or has another hash.
        StationFault: the disk refuses.
    """
    media_type = sniff(writer.head)
    writer.commit()
    with store.write() as connection:
        return note_photo(connection, Photo(sha256=sha256, size=writer.size, media_type=media_type))


def note_photo(connection: Connection, photo: Photo) -> bool:
    """Note that a photo's bytes are durable; tell whether it was new."""
    row = {"sha256": photo.sha256, "size": photo.size, "media_type": photo.media_type}
    return insert_new(connection, PHOTOS, row)


def find_photo(connection: Connection, sha256: str) -> Photo | None:
    """Return what is known of a photo."""
    row = connection.execute(select(PHOTOS).where(PHOTOS.c.sha256 == check_hash(sha256))).one_or_none()
    return None if row is None else Photo(sha256=row.sha256, size=row.size, media_type=row.media_type)


def check_record(record: Record, record_id: str, caller: StationId) -> None:
    """Check a record against the path and the station that it came by.

    Raises:
        Forbidden: it is another station's.
        Unsupported: one of its names or hashes cannot be used.
        Untrusted: its id is not the path's.
    """
    if record.station_id != caller:
        raise Forbidden(f"record: its station_id is {record.station_id[:80]!r}, but {caller} sent it")
    if record.record_id != record_id:
        raise Untrusted(f"record: expected record_id {record_id[:80]!r} as in the path, got {record.record_id[:80]!r}")
    check_hash(record.record_id)
    if record.rescan_of is not None:
        check_hash(record.rescan_of)
    check_name(record.item_id, "item_id")
    for view in record.views:
        check_name(view.view, "view")
        check_hash(view.photo)


def take_record(connection: Connection, record: Record, blobs: ContentFolder, now: datetime) -> bool:
    """Store a checked record, and its case if it is one; tell whether it was new.

    An agent that knows newer fields encodes an older record in other bytes; it is the same record all the same.

    Raises:
        Conflict: another record is stored under this id.
        PhotosMissing: it is a case, and some of its photos are not here.
    """
    body = canonical_json(record).decode()
    row = {
        "record_id": record.record_id,
        "station_id": record.station_id,
        "item_id": record.item_id,
        "verdict": record.verdict,
        "audited": record.audited,
        "body": body,
        "received_at": stamp(now),
    }
    stored = connection.execute(select(RECORDS.c.body).where(RECORDS.c.record_id == record.record_id)).scalar()
    if stored is None and is_case(record):
        check_photos(connection, record, blobs)
    if stored is None and insert_new(connection, RECORDS, row):
        if is_case(record):
            open_case(connection, record, now)
        connection.execute(update(STATIONS).where(STATIONS.c.id == record.station_id).values(last_seen=stamp(now)))
        return True
    stored = connection.execute(select(RECORDS.c.body).where(RECORDS.c.record_id == record.record_id)).scalar_one()
    if read_record(stored) != record:
        raise Conflict(f"record {record.record_id[:12]}: another record is stored under this id; it was not replaced")
    return False


def open_case(connection: Connection, record: Record, now: datetime) -> bool:
    """Open a case for a stored record unless it has one; tell whether it is new."""
    case = {"record_id": record.record_id, "station_id": record.station_id, "state": "open", "opened_at": stamp(now)}
    return insert_new(connection, CASES, case)


def check_photos(connection: Connection, record: Record, blobs: ContentFolder) -> None:
    """Check that an expert could look at a record.

    Raises:
        PhotosMissing: some of its photos are not here.
    """
    wanted = sorted({view.photo for view in record.views})
    noted = set(connection.execute(select(PHOTOS.c.sha256).where(PHOTOS.c.sha256.in_(wanted))).scalars())
    missing = tuple(photo for photo in wanted if photo not in noted or photo not in blobs)
    if missing:
        raise PhotosMissing(missing)
