"""Photos that arrive one by one: the same record as if they had come together, and no trace of what came to nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.home import Home
from edge_agent.model_slot import RunningModel
from edge_agent.station import Scanned
from runtime.bundle_store import open_bundle
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.sync import ReleaseInfo
from runtime.inspector import Inspector
from runtime.photo import Photo, read_photo
from runtime.preprocess import Frame, decode
from tests.edge_agent.rigs import wait_until
from tests.edge_agent.test_station import Rig, request_of

PhotoOf = Callable[..., bytes]


@pytest.fixture
def rig(home_with_model: Home) -> Rig:
    return Rig(home_with_model)


def one_by_one(rig: Rig, item: str, **photos: bytes | Frame) -> Scanned:
    session = rig.station.begin(lambda: rig.model)
    for view, photo in photos.items():
        session.add(view, photo)
    return session.finish(item, None)


def undecodable(whole: bytes) -> bytes:
    return whole[: whole.index(b"\xff\xda") + 4] + b"\xff\xd9"


@pytest.mark.parametrize("red", [20, 120, 230])
def test_one_by_one_is_recorded_as_if_all_had_come_together(
    home_with_model: Home, rig: Rig, photo_of: PhotoOf, red: int
) -> None:
    photos = {"stitching": photo_of(red + 1), "logo": photo_of(red), "box": photo_of(77)}
    alone = one_by_one(rig, "i", **photos).record
    rig.outbox._db.execute("DELETE FROM photo")
    rig.outbox._db.execute("DELETE FROM record")
    together = rig.station.scan(request_of("i", **photos), lambda: rig.model).record
    assert (alone.record_id, alone.verdict, alone.views) == (together.record_id, together.verdict, together.views)
    assert alone.prediction == together.prediction


def test_the_work_on_earlier_photos_is_done_before_the_last_one_comes(rig: Rig, photo_of: PhotoOf) -> None:
    session = rig.station.begin(lambda: rig.model)
    session.add("logo", photo_of(20))
    deadline = time.monotonic() + 10
    while not list(rig.photos):
        assert time.monotonic() < deadline, "the first photo is never stored"
        time.sleep(0.01)
    assert rig.outbox.tally().recorded == 0
    session.add("stitching", photo_of(21))
    assert session.finish("i", None).record.verdict == "authentic"


def test_a_bad_photo_ends_the_item_and_takes_back_the_good_ones(rig: Rig, photo_of: PhotoOf) -> None:
    for bad in (b"", b"text", photo_of(20)[:-200], undecodable(photo_of(20))):
        with pytest.raises(Unsupported, match="logo"):
            one_by_one(rig, "i", stitching=photo_of(20), logo=bad)
        assert rig.outbox.tally().recorded == 0
        assert list(rig.photos) == []


def test_a_photo_that_another_record_has_is_never_taken_back(rig: Rig, photo_of: PhotoOf) -> None:
    one_by_one(rig, "case", logo=photo_of(140))
    with pytest.raises(Unsupported):
        one_by_one(rig, "other", logo=photo_of(140), stitching=b"text")
    assert len(list(rig.photos)) == 1


def test_a_cancelled_item_leaves_no_trace(rig: Rig, photo_of: PhotoOf) -> None:
    session = rig.station.begin(lambda: rig.model)
    session.add("logo", photo_of(20))
    session.cancel()
    assert list(rig.photos) == []


def test_a_photo_can_be_replaced_and_dropped_until_the_end(rig: Rig, photo_of: PhotoOf) -> None:
    session = rig.station.begin(lambda: rig.model)
    for red in (230, 230, 20):
        session.replace("logo", photo_of(red))
    session.add("stitching", photo_of(230), 2)
    session.add("stitching", photo_of(20, seed=1))
    session.drop("stitching", 2)
    session.drop("nothing")
    wait_until(lambda: len(list(rig.photos)) == 2, "what is left is stored, which happens behind")
    record = session.finish("i", None).record
    assert (record.verdict, [score.view for score in record.views]) == ("authentic", ["logo", "stitching"])


def test_a_bad_photo_is_no_trouble_once_it_is_replaced(rig: Rig, photo_of: PhotoOf) -> None:
    session = rig.station.begin(lambda: rig.model)
    session.add("logo", undecodable(photo_of(20)))
    session.add("stitching", photo_of(21))
    session.replace("logo", photo_of(20))
    assert session.finish("i", None).record.verdict == "authentic"


def test_a_frame_is_not_kept_in_memory_once_it_was_looked_at(rig: Rig) -> None:
    session = rig.station.begin(lambda: rig.model)
    session.add("logo", Frame(np.full((600, 800, 3), 20, np.uint8)))
    (_, _, taking) = session._coming[0]
    assert isinstance(taking.result().photo.shown, Photo)
    session.cancel()


def test_an_item_needs_a_name_and_one_to_64_photos(rig: Rig, photo_of: PhotoOf) -> None:
    photo = photo_of(20)
    for item, count in (("i", 0), ("a/b", 1), ("i", 65)):
        session = rig.station.begin(lambda: rig.model)
        for _ in range(count):
            session.add("logo", photo)
        with pytest.raises(Unsupported, match="item"):
            session.finish(item, None)
    assert list(rig.photos) == []


def test_photos_of_a_view_are_recorded_by_their_numbers(rig: Rig, photo_of: PhotoOf) -> None:
    session = rig.station.begin(lambda: rig.model)
    session.add("logo", photo_of(200), 2)
    session.add("logo", photo_of(20), 1)
    first, second = (score.logit for score in session.finish("i", None).record.views)
    assert first is not None
    assert second is not None
    assert first < 0 < second


def test_an_item_keeps_the_model_that_it_began_with(
    rig: Rig, photo_of: PhotoOf, tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    other = Inspector.open(open_bundle(tiny_bundle(tmp_path / "other", bias=-9.0)))
    models = iter([rig.model, RunningModel(inspector=other, release=ReleaseInfo(name="o", release=2, floor=0))])
    session = rig.station.begin(lambda: next(models))
    later = rig.station.begin(lambda: next(models))
    for red, one in ((230, session), (232, later)):
        one.add("logo", photo_of(red))
        one.add("stitching", photo_of(red + 1))
    assert (session.finish("i", None).record.verdict, later.finish("j", None).record.verdict) == (
        "suspect",
        "authentic",
    )


def test_a_camera_frame_is_looked_at_as_it_is_and_kept_as_a_jpeg(rig: Rig, photo_of: PhotoOf) -> None:
    pixels = cv2.cvtColor(decode(read_photo(photo_of(230), "p"), 32, "p"), cv2.COLOR_BGR2RGB)
    record = one_by_one(rig, "i", logo=Frame(pixels), stitching=Frame(pixels)).record
    assert record.verdict == "suspect"
    assert rig.model.inspector.look("logo", Frame(pixels)).logit == record.views[0].logit
    kept = read_photo(rig.photos.read(record.views[0].photo), "kept")
    assert (kept.format, kept.width_px, kept.height_px) == ("jpeg", pixels.shape[1], pixels.shape[0])


@pytest.mark.parametrize(
    "pixels", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3), np.float32), np.zeros((8, 40, 3), np.uint8)]
)
def test_what_is_no_frame_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(Unsupported, match="frame: "):
        Frame(pixels)


def test_a_second_time_is_answered_from_the_outbox_and_brings_back_no_photo_that_made_room(
    rig: Rig, photo_of: PhotoOf
) -> None:
    first = one_by_one(rig, "i", logo=photo_of(20), stitching=photo_of(21))
    rig.outbox.drop_oldest(lambda sha256: rig.photos.path(sha256).unlink())
    again = one_by_one(rig, "i", logo=photo_of(20), stitching=photo_of(21))
    assert (again.again, again.record) == (True, first.record)
    assert list(rig.photos) == []


def test_photos_that_a_crash_left_without_a_record_are_swept_and_no_others(rig: Rig, photo_of: PhotoOf) -> None:
    case = one_by_one(rig, "case", logo=photo_of(140)).record.views[0].photo
    left, fresh = rig.photos.put(photo_of(50)), rig.photos.put(photo_of(60))
    for sha256 in (case, left):
        os.utime(rig.photos.path(sha256), (1, 1))
    assert rig.station.sweep(time.time() - 3600) == 1
    assert sorted(rig.photos) == sorted([case, fresh])


def test_a_station_without_a_model_begins_nothing(rig: Rig) -> None:
    def none_yet() -> RunningModel:
        raise StationFault("no model yet")

    with pytest.raises(StationFault):
        rig.station.begin(none_yet)
