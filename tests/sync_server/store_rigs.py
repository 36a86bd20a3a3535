"""Stations, photos and records as the tests of the store put them in."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from runtime.contracts.records import (
    BundleId,
    ItemId,
    ModelRef,
    Prediction,
    Record,
    RecordId,
    StationId,
    ViewScore,
)
from runtime.contracts.sync import EnrolRequest
from sync_server.blobs import Blobs
from sync_server.devices import enrol, issue_code
from sync_server.intake import Photo, note_photo, take_record
from sync_server.store import Store

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
KEY = "ab" * 32


def enrolled(store: Store, key: str = KEY) -> StationId:
    with store.write() as connection:
        code = issue_code(connection, b"root", 24, NOW)
        return enrol(connection, EnrolRequest(secret=code.secret, public_key=key, name="dock"), NOW)


def stored_photo(store: Store, blobs: Blobs, data: bytes) -> str:
    sha256 = blobs.put(data)
    with store.write() as connection:
        note_photo(connection, Photo(sha256=sha256, size=len(data), media_type="image/png"))
    return sha256


def record_of(station: StationId, item: str, *photos: str) -> Record:
    return Record(
        record_id=RecordId(hashlib.sha256(item.encode()).hexdigest()),
        station_id=station,
        item_id=ItemId(item),
        scanned_at="2026-11-20T09:00:00Z",
        verdict="uncertain",
        reasons=(),
        prediction=Prediction(p_counterfeit=0.5, p_fraud=None),
        audited=False,
        views=tuple(ViewScore(view=f"v{i}", photo=photo, logit=None) for i, photo in enumerate(photos)),
        listing=None,
        model=ModelRef(bundle_id=BundleId("b" * 64), name="bags", release=1, variant="cpu"),
        timings_us={},
    )


def take(store: Store, blobs: Blobs, record: Record) -> bool:
    with store.write() as connection:
        return take_record(connection, record, blobs, NOW)
