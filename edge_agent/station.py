"""The scan: photos and listing in, a durable record out. The one place that knows the order of writes.

1. Photos are checked and stripped; the record's id follows from them; a scan seen before is answered from the outbox.
2. The audit lottery is drawn before anything is known of the verdict.
3. The model decides; a photo that does not decode ends it here, with nothing written.
4. Photos are written, durably; then the record; then a case's photos, should they have gone in between. Only then does
   anybody learn the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from edge_agent.disk import disk_errors, make_room
from edge_agent.identity import Identity
from edge_agent.journal import note
from edge_agent.outbox import Outbox
from runtime.contracts.durable import ContentFolder, sha256_hex, write_durably
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import (
    ItemId,
    ModelRef,
    Record,
    RecordId,
    ViewScore,
    check_name,
    drawn_for_audit,
    is_case,
    record_id_of,
)
from runtime.contracts.sync import MAX_PHOTO_BYTES
from runtime.photo import sanitise

if TYPE_CHECKING:  # a scan seen before is answered without loading an engine
    from runtime.inspector import Inspection

MAX_PHOTOS = 64


class Model(Protocol):
    """What decides: the running model, or a stand-in of the same shape."""

    @property
    def ref(self) -> ModelRef:
        """Which model this is."""
        ...

    def inspect(
        self, photos: Mapping[str, tuple[bytes, ...]], listing: Mapping[str, float | None] | None
    ) -> Inspection:
        """Decide about one item."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """One item as it lies before the camera: encoded photos by view, and its listing features if there are any."""

    item_id: str
    photos: Mapping[str, tuple[bytes, ...]]
    listing: Mapping[str, float | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """A record that is on disk; ``again`` tells that it was there before."""

    record: Record
    again: bool


class Station:
    """Scans items. Thread-safe, and safe beside another process on the same home."""

    def __init__(
        self,
        *,
        identity: Identity,
        outbox: Outbox,
        photos: ContentFolder,
        min_free_bytes: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._identity = identity
        self._outbox = outbox
        self._photos = photos
        self._min_free_bytes = min_free_bytes
        self._now = now

    def scan(self, request: ScanRequest, model: Callable[[], Model]) -> Scanned:
        """Decide about one item and return its record, which is on disk by then.

        Args:
            request: what to scan.
            model: gives the model that decides; asked once, and only for a scan not seen before.

        Raises:
            Unsupported: a photo or a name cannot be used; nothing was recorded.
            StationFault: a person must act (disk full, no model); nothing was recorded.
        """
        started_ns = time.monotonic_ns()
        clean = _sanitised(request)
        sanitised_ns = time.monotonic_ns()
        hashed = tuple((view, sha256_hex(data)) for view, datas in clean.items() for data in datas)
        record_id = record_id_of(self._identity.station_id, ItemId(request.item_id), hashed, request.listing)
        earlier = self._outbox.find(record_id)
        if earlier is not None:
            self._keep_photos(earlier, clean)
            return Scanned(record=earlier, again=True)
        return self._decide(request, clean, record_id, model, (started_ns, sanitised_ns))

    def _decide(
        self,
        request: ScanRequest,
        clean: Mapping[str, tuple[bytes, ...]],
        record_id: RecordId,
        model: Callable[[], Model],
        clock_ns: tuple[int, int],
    ) -> Scanned:
        started_ns, sanitised_ns = clock_ns
        dropped = make_room(self._outbox, self._photos, self._min_free_bytes)
        if dropped:
            note("photos_dropped", count=dropped, why="disk")
        # Drawn before anything is known of the verdict; nobody without the key can foresee it.
        audited = drawn_for_audit(bytes.fromhex(self._identity.audit_key), record_id, self._identity.audit_share)
        deciding = model()
        inspection = deciding.inspect(clean, request.listing)
        decided_ns = time.monotonic_ns()
        self._store_photos(clean)
        own_us = {
            "sanitise": (sanitised_ns - started_ns) // 1000,
            "inspect": (decided_ns - sanitised_ns) // 1000,
            "store_photos": (time.monotonic_ns() - decided_ns) // 1000,
        }
        record = Record(
            record_id=record_id,
            station_id=self._identity.station_id,
            item_id=ItemId(request.item_id),
            scanned_at=self._now().isoformat(timespec="milliseconds"),
            verdict=inspection.verdict,
            reasons=inspection.reasons,
            prediction=inspection.prediction,
            audited=audited,
            views=_scores(clean, inspection),
            listing=request.listing,
            model=deciding.ref,
            timings_us={**inspection.timings_us, **own_us},
        )
        return self._record(record, clean)

    def _store_photos(self, clean: Mapping[str, tuple[bytes, ...]]) -> None:
        with disk_errors("photos"):
            for datas in clean.values():
                for data in datas:
                    self._photos.put(data)

    def _record(self, record: Record, clean: Mapping[str, tuple[bytes, ...]]) -> Scanned:
        is_new = self._outbox.add(record)
        kept = record if is_new else self._outbox.find(record.record_id) or record
        self._keep_photos(kept, clean)
        return Scanned(record=kept, again=not is_new)

    def _keep_photos(self, record: Record, clean: Mapping[str, tuple[bytes, ...]]) -> None:
        """Store the photos of a case again if they are gone or have rotted; its record is on disk and protects them.

        Another process may have made room with these very bytes, a power cut may have come before this, or a disk may
        have lost them: then scanning the item again is how the case is mended.
        """
        if not is_case(record):
            return
        with disk_errors("photos"):
            for data in (data for datas in clean.values() for data in datas):
                path = self._photos.path(self._photos.put(data))
                if path.read_bytes() != data:
                    write_durably(path, data)


def _sanitised(request: ScanRequest) -> dict[str, tuple[bytes, ...]]:
    check_name(request.item_id, "item id")
    count = sum(len(datas) for datas in request.photos.values())
    if not 1 <= count <= MAX_PHOTOS:
        raise Unsupported(f"item {request.item_id!r}: expected 1 to {MAX_PHOTOS} photos, got {count}")
    clean = {}
    for view in sorted(request.photos):
        check_name(view, "view")
        clean[view] = tuple(
            _sanitised_photo(data, view if len(request.photos[view]) == 1 else f"{view}~{number}")
            for number, data in enumerate(request.photos[view], 1)
        )
    return clean


def _sanitised_photo(data: bytes, name: str) -> bytes:
    if len(data) > MAX_PHOTO_BYTES:
        raise Unsupported(f"photo {name!r}: expected at most {MAX_PHOTO_BYTES} bytes, got {len(data)}")
    return sanitise(data, name)


def _scores(clean: Mapping[str, tuple[bytes, ...]], inspection: Inspection) -> tuple[ViewScore, ...]:
    scores = []
    for view, datas in clean.items():
        logits: tuple[float | None, ...] = inspection.logits.get(view) or (None,) * len(datas)
        scores += [
            ViewScore(view=view, photo=sha256_hex(data), logit=logit) for data, logit in zip(datas, logits, strict=True)
        ]
    return tuple(scores)
