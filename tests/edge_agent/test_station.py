"""The order of writes of a scan, and what is never shown or recorded."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.config import Config
from edge_agent.home import Home
from edge_agent.identity import Identity, require_identity
from edge_agent.model_slot import ModelSlot, RunningModel
from edge_agent.outbox import Outbox
from edge_agent.release_book import ReleaseBook
from edge_agent.station import ScanRequest, Station
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.records import ModelRef, drawn_for_audit

if TYPE_CHECKING:
    from runtime.inspector import Inspector


class Rig:
    def __init__(self, home: Home, **identity: object) -> None:
        self.home = home
        known = require_identity(home)
        fields = {name: getattr(known, name) for name in Identity.__slots__} | identity
        self.identity = Identity(**fields)
        self.outbox = Outbox(home.database_file)
        self.photos = ContentFolder(home.photos)
        self.station = Station(identity=self.identity, outbox=self.outbox, photos=self.photos, min_free_bytes=0)
        slot = ModelSlot(home=home, book=ReleaseBook(self.outbox), config=Config(threads=1), stopping=threading.Event())
        slot.restore(None)
        self.model = slot.require()


@pytest.fixture
def rig(home_with_model: Home) -> Rig:
    return Rig(home_with_model)


class Watched:
    """The real model, with a look at the disk at the moment when it is asked."""

    def __init__(self, model: RunningModel, look: Callable[[], None]) -> None:
        self.model = model
        self.look = look

    @property
    def ref(self) -> ModelRef:
        return self.model.ref

    @property
    def inspector(self) -> Inspector:
        self.look()
        return self.model.inspector


def request_of(item: str, **photos: bytes) -> ScanRequest:
    return ScanRequest(item_id=item, photos={view: (data,) for view, data in photos.items()}, listing=None)


def test_the_record_and_its_photos_are_on_disk_when_the_verdict_is_known(
    rig: Rig, photo_of: Callable[..., bytes]
) -> None:
    scanned = rig.station.scan(request_of("i", logo=photo_of(20), stitching=photo_of(21)), lambda: rig.model)
    other = Outbox(rig.home.database_file)
    assert other.find(scanned.record.record_id) == scanned.record
    other.close()
    for score in scanned.record.views:
        assert score.photo in rig.photos
        assert score.logit is not None
    assert scanned.record.verdict == "authentic"
    assert scanned.record.model.release == 1


def test_nothing_is_recorded_before_the_model_has_decided(rig: Rig, photo_of: Callable[..., bytes]) -> None:
    def look() -> None:
        assert rig.outbox.tally().recorded == 0

    rig.station.scan(request_of("i", logo=photo_of(20)), lambda: Watched(rig.model, look))
    assert rig.outbox.tally().recorded == 1


def test_photos_are_on_disk_before_the_record_that_names_them(rig: Rig, photo_of: Callable[..., bytes]) -> None:
    rig.outbox._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StationFault):
        rig.station.scan(request_of("i", logo=photo_of(20)), lambda: rig.model)
    rig.outbox._db.execute("PRAGMA query_only = OFF")
    assert rig.outbox.tally().recorded == 0
    assert len(list(rig.photos)) == 1


def test_a_photo_that_cannot_be_read_leaves_no_trace(rig: Rig, photo_of: Callable[..., bytes]) -> None:
    whole = photo_of(20)
    scan_data = whole.index(b"\xff\xda")
    undecodable = whole[: scan_data + 4] + b"\xff\xd9"
    for bad in (b"", b"text", whole[:-200], undecodable):
        with pytest.raises(Unsupported, match="logo"):
            rig.station.scan(request_of("i", logo=bad), lambda: rig.model)
    assert rig.outbox.tally().recorded == 0
    assert list(rig.photos) == []


def test_a_second_scan_of_the_same_is_answered_from_the_outbox_without_a_model(
    rig: Rig, photo_of: Callable[..., bytes]
) -> None:
    def no_model() -> RunningModel:
        raise AssertionError("the model was asked")

    first = rig.station.scan(request_of("i", logo=photo_of(20)), lambda: rig.model)
    again = rig.station.scan(request_of("i", logo=photo_of(20)), no_model)
    assert again.again
    assert again.record == first.record
    assert rig.outbox.tally().recorded == 1


def test_what_was_scanned_decides_the_id_and_not_when(rig: Rig, photo_of: Callable[..., bytes]) -> None:
    ids = {
        rig.station.scan(request, lambda: rig.model).record.record_id
        for request in (
            request_of("i", logo=photo_of(20)),
            request_of("j", logo=photo_of(20)),
            request_of("i", stitching=photo_of(20)),
            request_of("i", logo=photo_of(30)),
            ScanRequest(item_id="i", photos={"logo": (photo_of(20),)}, listing={"price": 1.0}),
        )
    }
    assert len(ids) == 5


def test_two_processes_that_scan_the_same_item_at_once_make_one_record(
    rig: Rig, photo_of: Callable[..., bytes]
) -> None:
    second = Rig(rig.home)
    inner = []

    def other_process_was_faster() -> None:
        inner.append(second.station.scan(request_of("i", logo=photo_of(20)), lambda: second.model))

    outer = rig.station.scan(request_of("i", logo=photo_of(20)), lambda: Watched(rig.model, other_process_was_faster))
    assert outer.again
    assert outer.record == inner[0].record
    assert rig.outbox.tally().recorded == 1


def test_the_audit_lottery_is_drawn_by_the_key_alone_before_the_verdict(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    rig = Rig(home_with_model, audit_share=0.5)
    drawn = []
    for number in range(20):
        record = rig.station.scan(request_of(f"i{number}", logo=photo_of(20)), lambda: rig.model).record
        assert record.audited == drawn_for_audit(bytes.fromhex("11" * 32), record.record_id, 0.5)
        drawn.append(record.audited)
    assert {True, False} == set(drawn)
    assert rig.outbox.tally().cases >= sum(drawn)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_none_draws_none_and_of_all_draws_all(
    home_with_model: Home, photo_of: Callable[..., bytes], share: float
) -> None:
    rig = Rig(home_with_model, audit_share=share)
    record = rig.station.scan(request_of("i", logo=photo_of(20)), lambda: rig.model).record
    assert record.audited == bool(share)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "x" * 129, "line\nbreak"])
def test_a_name_that_cannot_be_one_is_refused(rig: Rig, photo_of: Callable[..., bytes], name: str) -> None:
    with pytest.raises(Unsupported):
        rig.station.scan(request_of(name, logo=photo_of(20)), lambda: rig.model)
    with pytest.raises(Unsupported):
        rig.station.scan(ScanRequest(item_id="i", photos={name: (photo_of(20),)}, listing=None), lambda: rig.model)
    with pytest.raises(Unsupported, match="1 to 64 photos"):
        rig.station.scan(ScanRequest(item_id="i", photos={}, listing=None), lambda: rig.model)


def test_several_photos_of_a_view_keep_their_order_and_each_its_logit(rig: Rig, photo_of: Callable[..., bytes]) -> None:
    request = ScanRequest(
        item_id="i", photos={"logo": (photo_of(20), photo_of(200)), "unknown": (photo_of(50),)}, listing=None
    )
    views = rig.station.scan(request, lambda: rig.model).record.views
    assert [view.view for view in views] == ["logo", "logo", "unknown"]
    assert views[0].logit is not None
    assert views[1].logit is not None
    assert views[0].logit < 0 < views[1].logit
    assert views[2].logit is None


def test_a_station_without_a_model_says_so_and_records_nothing(rig: Rig, photo_of: Callable[..., bytes]) -> None:
    def none_yet() -> RunningModel:
        raise StationFault("no model yet")

    with pytest.raises(StationFault):
        rig.station.scan(request_of("i", logo=photo_of(20)), none_yet)
    assert rig.outbox.tally().recorded == 0


def test_no_location_is_kept_in_a_stored_photo(rig: Rig, photo_of: Callable[..., bytes]) -> None:
    photo = photo_of(20)
    exif = b"Exif\x00\x00GPS 48.137 11.575"
    tagged = photo[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + photo[2:]
    record = rig.station.scan(request_of("i", logo=tagged), lambda: rig.model).record
    assert b"GPS" not in rig.photos.read(record.views[0].photo)


def test_photos_lie_in_their_own_folder(rig: Rig, photo_of: Callable[..., bytes], tmp_path: Path) -> None:
    rig.station.scan(request_of("i", logo=photo_of(20)), lambda: rig.model)
    assert len(list((tmp_path / "station" / "photos").glob("??/*"))) == 1


@pytest.mark.parametrize("rotten", [None, b"rotten"])
def test_scanning_a_case_again_brings_back_the_photos_that_its_disk_has_lost(
    rig: Rig, photo_of: Callable[..., bytes], rotten: bytes | None
) -> None:
    first = rig.station.scan(request_of("i", logo=photo_of(140), stitching=photo_of(150)), lambda: rig.model)
    for view in first.record.views:
        rig.photos.path(view.photo).unlink()
        if rotten is not None:
            rig.photos.path(view.photo).write_bytes(rotten)
    again = rig.station.scan(request_of("i", logo=photo_of(140), stitching=photo_of(150)), lambda: rig.model)
    assert again.again
    for view in first.record.views:
        rig.photos.read(view.photo)


def test_scanning_a_confident_item_again_does_not_bring_back_photos_that_made_room(
    rig: Rig, photo_of: Callable[..., bytes]
) -> None:
    request = request_of("i", logo=photo_of(20), stitching=photo_of(21))
    rig.station.scan(request, lambda: rig.model)
    rig.outbox.drop_oldest(lambda sha256: rig.photos.path(sha256).unlink())
    assert rig.station.scan(request, lambda: rig.model).again
    assert list(rig.photos) == []


def test_a_case_keeps_its_photos_even_if_another_process_makes_room_just_before_its_record(
    rig: Rig, photo_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = rig.outbox.writing

    @contextmanager
    def make_room_then_write() -> Iterator[sqlite3.Connection]:
        for sha256 in list(rig.photos):
            rig.photos.path(sha256).unlink()
        with writing() as db:
            yield db

    monkeypatch.setattr(rig.outbox, "writing", make_room_then_write)
    record = rig.station.scan(request_of("i", logo=photo_of(140)), lambda: rig.model).record
    rig.photos.read(record.views[0].photo)
