"""What this station has on record of an item and of photos: SQL in the outbox's own transactions. Decides nothing.

``runtime.history`` decides. Whoever adds a record looks and adds in one write transaction, so that of two scans of one
item at the same time, in two processes too, one is the first. Rows here stay when photos or records make room.
"""

from __future__ import annotations

import sqlite3

from runtime.contracts.records import ItemId, Record, RecordId
from runtime.history import EarlierScan, ItemHistory, PhotoUse, binds, is_complete

_FIRST = "SELECT record_id, scanned_at FROM complete_scan WHERE item_id = ? ORDER BY seq LIMIT 1"
_OPEN = (
    "SELECT record_id, scanned_at FROM complete_scan WHERE item_id = ? AND binds = 1 AND NOT EXISTS "
    "(SELECT 1 FROM answer WHERE answer.record_id = complete_scan.record_id) ORDER BY seq LIMIT 1"
)
# The last answer on a record is the one that counts.
_COUNTERFEIT = (
    "SELECT resolved_at FROM answer WHERE item_id = ? AND outcome = 'counterfeit' AND NOT EXISTS "
    "(SELECT 1 FROM answer AS later WHERE later.record_id = answer.record_id AND later.seq > answer.seq) "
    "ORDER BY seq DESC LIMIT 1"
)
_ELSEWHERE = "SELECT item_id, view FROM photo_use WHERE sha256 = ? AND (item_id != ? OR view != ?) LIMIT 1"


def item_history(db: sqlite3.Connection, item_id: ItemId) -> ItemHistory:
    """Return what is on record of an item."""
    counterfeit = db.execute(_COUNTERFEIT, (item_id,)).fetchone()
    return ItemHistory(
        first=_scan(db.execute(_FIRST, (item_id,)).fetchone()),
        open=_scan(db.execute(_OPEN, (item_id,)).fetchone()),
        counterfeit_at=counterfeit and counterfeit[0],
    )


def photo_uses(db: sqlite3.Connection, record: Record) -> tuple[PhotoUse, ...]:
    """Return where else the photos of ``record`` are on record; at most one place for each."""
    given = sorted({(score.view, score.photo) for score in record.views})
    found = ((view, db.execute(_ELSEWHERE, (photo, record.item_id, view)).fetchone()) for view, photo in given)
    return tuple(PhotoUse(view=view, used_for=row[0], used_as=row[1]) for view, row in found if row)


def remember(db: sqlite3.Connection, record: Record) -> None:
    """Note the scan of a record that is being added."""
    if is_complete(record):
        row = (record.record_id, record.item_id, record.scanned_at, binds(record))
        db.execute("INSERT INTO complete_scan (record_id, item_id, scanned_at, binds) VALUES (?, ?, ?, ?)", row)
    uses = sorted({(score.photo, record.item_id, score.view) for score in record.views})
    db.executemany("INSERT OR IGNORE INTO photo_use VALUES (?, ?, ?)", uses)


def _scan(row: tuple[str, str] | None) -> EarlierScan | None:
    return EarlierScan(record_id=RecordId(row[0]), scanned_at=row[1]) if row else None
