"""The scan: photos and listing in, a durable record out. The one place that knows the order of writes.

1. Photos are checked and stripped, on all cores; the record's id follows from them; a scan seen before is answered from
   the outbox.
2. They are looked at by the model and written to the disk side by side; one that does not decode ends it here, and
   takes back what was written.
3. The audit lottery is drawn before anything is concluded.
4. When every photo is on disk, the record is written, in one transaction with the look at what was scanned before: a
   later scan of an item only moves towards review (``runtime.history``). Then a case's photos, should they have gone in
   between. Only then does anybody learn the verdict.

Photos that arrive one by one go through a ``Session``: by the last one, the work on the others is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from edge_agent.disk import PhotoBudget
from edge_agent.features import DEFAULT_MAX_AGE_S, SentAhead, features_of
from edge_agent.identity import Identity
from edge_agent.intake import Checked, Intake, check
from edge_agent.item_history import item_history, photo_uses
from edge_agent.metrics import RESCANS, Metrics
from edge_agent.outbox import Outbox, insert_record
from runtime.contracts.durable import ContentFolder
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
from runtime.cores import core_count
from runtime.history import restrained
from runtime.photo import Photo, read_photo

if TYPE_CHECKING:  # a scan seen before is answered without loading an engine
    from runtime.inspector import Inspection, Inspector, Look
    from runtime.preprocess import Frame

MAX_PHOTOS = 64
Listing = Mapping[str, float | None]


class Model(Protocol):
    """What decides: the running model, or a stand-in of the same shape."""

    @property
    def ref(self) -> ModelRef:
        """Which model this is."""
        ...

    @property
    def inspector(self) -> Inspector:
        """What looks at photos, and concludes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """One item as it lies before the camera: its photos by view, and its listing features if there are any."""

    item_id: str
    photos: Mapping[str, tuple[bytes | Frame, ...]]
    listing: Listing | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """A record that is on disk; ``again`` tells that it was there before."""

    record: Record
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A photo that was looked at (``None``: the model does not know its view), on its way to the disk."""

    photo: Checked
    look: Look | None
    stored: Future[None]


class Station:
    """Scans items. Thread-safe, and safe beside another process on the same home."""

    def __init__(
        self,
        *,
        identity: Identity,
        outbox: Outbox,
        photos: ContentFolder,
        min_free_bytes: int,
        budget: PhotoBudget | None = None,
        features_max_age_s: float = DEFAULT_MAX_AGE_S,
        metrics: Metrics | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_scanned: Callable[[Record, Sequence[Checked]], None] = lambda record, photos: None,
    ) -> None:
        self._on_scanned = on_scanned
        self._identity = identity
        self._outbox = outbox
        self._features_max_age_s = features_max_age_s
        self._intake = Intake(outbox, photos, min_free_bytes, budget)
        self._metrics = metrics or Metrics()
        self._now = now
        self._cores = ThreadPoolExecutor(core_count(), "scan")

    def scan(self, request: ScanRequest, model: Callable[[], Model]) -> Scanned:
        """Decide about one item whose photos are all there, and return its record, which is on disk by then.

        Args:
            request: what to scan.
            model: gives the model that decides; asked once, and only for a scan not seen before.

        Raises:
            Unsupported: a photo or a name cannot be used; nothing was recorded.
            StationFault: a person must act (disk full, no model); nothing was recorded.
        """
        started_ns = time.monotonic_ns()
        checked = self._check_all(request)
        earlier = self._outbox.find(self._id_of(request.item_id, checked, request.listing))
        if earlier is not None:
            return self._again(earlier, checked)
        deciding = model()
        inspector = deciding.inspector
        known = [(photo.view, photo.shown) for photo in checked if inspector.knows(photo.view)]
        stored: list[Future[None]] = []
        try:
            stored += map(self._intake.store, checked)
            looks = iter(inspector.look_at(known))
        except BaseException:
            self._intake.take_back(checked, stored)
            raise
        seen = [
            _Seen(photo=photo, look=next(looks) if inspector.knows(photo.view) else None, stored=done)
            for photo, done in zip(checked, stored, strict=True)
        ]
        return self._conclude(request.item_id, request.listing, seen, deciding, started_ns)

    def begin(self, model: Callable[[], Model]) -> Session:
        """Begin an item whose photos arrive one by one.

        Raises:
            StationFault: there is no model.
        """
        return Session(self, model())

    def store(self, photo: Checked) -> None:
        """Store a photo of an item that is not finished yet; it is durable when this returns.

        Call it again once the photo is claimed: an item that shared it may have been taken back in between.

        Raises:
            StationFault: the disk refuses.
        """
        self._intake.store(photo).result()

    def forget(self, hashes: Sequence[str]) -> None:
        """Remove those of these photos that neither a record nor an open session claims."""
        self._intake.remove_unclaimed(hashes)

    def sweep(self, before_s: float) -> int:
        """Remove photos that crashes left without a record, written before ``before_s``; return how many files went."""
        return self._intake.sweep(before_s)

    def _check_all(self, request: ScanRequest) -> list[Checked]:
        check_item(request.item_id, sum(len(photos) for photos in request.photos.values()))
        several = [
            (view, photo, view if len(photos) == 1 else f"{view}~{number}")
            for view, photos in sorted(request.photos.items())
            for number, photo in enumerate(photos, 1)
        ]
        return list(self._cores.map(lambda one: check(*one), several))

    def _take(self, view: str, photo: bytes | Frame | Checked, name: str, model: Model) -> _Seen:
        checked = photo if isinstance(photo, Checked) else check(view, photo, name)
        stored = self._intake.store(checked)
        try:
            look = model.inspector.look(view, checked.shown) if model.inspector.knows(view) else None
        except BaseException:
            self._intake.take_back([checked], [stored])
            raise
        if not isinstance(checked.shown, Photo):  # a frame is many megabytes, and has been looked at
            checked = replace(checked, shown=read_photo(checked.data, name))
        return _Seen(photo=checked, look=look, stored=stored)

    def _conclude(
        self, item_id: str, listing: Listing | None, seen: Sequence[_Seen], model: Model, started_ns: int
    ) -> Scanned:
        photos = [one.photo for one in seen]
        record_id = self._id_of(item_id, photos, listing)
        # Drawn before anything is known of the verdict; nobody without the key can foresee it.
        audited = drawn_for_audit(bytes.fromhex(self._identity.audit_key), record_id, self._identity.audit_share)
        looks = [one.look for one in seen if one.look is not None]
        inspector, now = model.inspector, self._now()
        ahead = self._sent_ahead(item_id, now) if listing is None and inspector.judges_listings else None
        used = ahead.listing if ahead else listing
        inspection = inspector.conclude(
            looks, [photo.view for photo in photos], used, listing_stale=ahead is not None and ahead.stale
        )
        decided_ns = time.monotonic_ns()
        for one in seen:
            one.stored.result()
        record = Record(
            record_id=record_id,
            station_id=self._identity.station_id,
            item_id=ItemId(item_id),
            scanned_at=now.isoformat(timespec="milliseconds"),
            verdict=inspection.verdict,
            reasons=inspection.reasons,
            prediction=inspection.prediction,
            audited=audited,
            views=_scores(photos, inspection),
            listing=used,
            model=model.ref,
            timings_us={
                **inspection.timings_us,
                "until_decided": (decided_ns - started_ns) // 1000,
                "until_stored": (time.monotonic_ns() - started_ns) // 1000,
            },
            features_as_of=ahead.as_of if ahead else None,
        )
        return self._keep(record, photos)

    def _sent_ahead(self, item_id: str, now: datetime) -> SentAhead | None:
        return features_of(self._outbox, ItemId(item_id), now_s=now.timestamp(), max_age_s=self._features_max_age_s)

    def _keep(self, record: Record, photos: Sequence[Checked]) -> Scanned:
        # One transaction: two scans of an item at once, in two processes too, are not both its first.
        with self._outbox.writing() as db:
            record = restrained(record, item_history(db, record.item_id), photo_uses(db, record))
            added = insert_record(db, record)
        if not added:
            return self._again(self._outbox.find(record.record_id) or record, photos)
        if is_case(record):
            self._intake.keep(photos)
        self._metrics.scanned(record)
        self._on_scanned(record, photos)
        return Scanned(record=record, again=False)

    def _again(self, earlier: Record, photos: Sequence[Checked]) -> Scanned:
        """Answer from the outbox; scanning an item again is also how a case whose photos were lost is mended."""
        if is_case(earlier):
            self._intake.mend(photos)
        self._metrics.count(RESCANS)
        return Scanned(record=earlier, again=True)

    def _id_of(self, item_id: str, photos: Sequence[Checked], listing: Listing | None) -> RecordId:
        hashed = tuple((photo.view, photo.sha256) for photo in photos)
        return record_id_of(self._identity.station_id, ItemId(item_id), hashed, listing)


class Session:
    """One item whose photos arrive one by one. For one thread; end it with ``finish`` or ``cancel``.

    It keeps the model that it began with, so a swap meanwhile drops nothing.
    """

    def __init__(self, station: Station, model: Model) -> None:
        self.model = model
        self._station = station
        self._coming: list[tuple[str, int, Future[_Seen]]] = []

    def add(self, view: str, photo: bytes | Frame | Checked, number: int = 1) -> None:
        """Take one photo; it is checked, looked at and stored behind, and ``finish`` tells if it cannot be used.

        Args:
            view: of the photo.
            photo: encoded, a raw frame, or one that was checked already.
            number: its place among the photos of its view; those of one number stay in the order of their coming.
        """
        name = view if number == 1 else f"{view}~{number}"
        taking = self._station._cores.submit(self._station._take, view, photo, name, self.model)
        self._coming.append((view, number, taking))

    def replace(self, view: str, photo: bytes | Frame | Checked, number: int = 1) -> None:
        """Take a photo instead of those with this view and number; see ``add`` and ``drop``."""
        self.drop(view, number)
        self.add(view, photo, number)

    def drop(self, view: str, number: int = 1) -> None:
        """Forget the photos with this view and number, if there are any; what was stored of them is taken back."""
        gone = [one for one in self._coming if one[:2] == (view, number)]
        self._coming = [one for one in self._coming if one[:2] != (view, number)]
        self._take_back(gone)

    def finish(self, item_id: str, listing: Listing | None) -> Scanned:
        """Decide about the item; see ``Station.scan`` for what it returns and raises."""
        started_ns = time.monotonic_ns()
        try:
            check_item(item_id, len(self._coming))
            seen = [taking.result() for _, _, taking in sorted(self._coming, key=lambda one: one[:2])]
        except BaseException:
            self.cancel()
            raise
        station = self._station
        photos = [one.photo for one in seen]
        earlier = station._outbox.find(station._id_of(item_id, photos, listing))
        if earlier is not None:
            station._intake.take_back(photos, [one.stored for one in seen])
            return station._again(earlier, photos)
        return station._conclude(item_id, listing, seen, self.model, started_ns)

    def cancel(self) -> None:
        """Forget the item; what was stored of it is taken back."""
        self._take_back(self._coming)

    def _take_back(self, coming: Sequence[tuple[str, int, Future[_Seen]]]) -> None:
        seen = [taking.result() for _, _, taking in coming if taking.exception() is None]
        self._station._intake.take_back([one.photo for one in seen], [one.stored for one in seen])


def check_item(item_id: str, photos: int) -> None:
    """Check an item's id and the number of its photos.

    Raises:
        Unsupported: they cannot be.
    """
    check_name(item_id, "item id")
    if not 1 <= photos <= MAX_PHOTOS:
        raise Unsupported(f"item {item_id!r}: expected 1 to {MAX_PHOTOS} photos, got {photos}")


def _scores(photos: Sequence[Checked], inspection: Inspection) -> tuple[ViewScore, ...]:
    logits = {view: iter(values) for view, values in inspection.logits.items()}
    return tuple(
        ViewScore(view=photo.view, photo=photo.sha256, logit=next(logits.get(photo.view, iter(())), None))
        for photo in photos
    )
