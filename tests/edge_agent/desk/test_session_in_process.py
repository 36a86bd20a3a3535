"""Guided items without a daemon: a model that is swapped meanwhile, photos that others want to remove, what is held."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from edge_agent.desk import sessions as under_test
from edge_agent.desk.refusals import Conflict, NotFound
from edge_agent.desk.sessions import Sessions
from edge_agent.home import Home
from edge_agent.model_slot import RunningModel
from runtime.bundle_store import open_bundle
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.sync import ReleaseInfo
from runtime.inspector import Inspector
from runtime.preprocess import Frame
from tests.edge_agent.test_station import Rig, request_of

PhotoOf = Callable[..., bytes]


class Bench(Rig):
    """A station with guided items; ``model`` is whatever runs at the moment, ``time`` what the clock says."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.time = datetime.now(UTC)
        self.sessions = Sessions(
            outbox=self.outbox,
            photos=self.photos,
            station=self.station,
            model=lambda: self.model,
            now=lambda: self.time,
        )

    def begun(self, item_id: str, **photos: bytes) -> str:
        session_id = self.sessions.begin(item_id).session_id
        for view, photo in photos.items():
            self.sessions.put(session_id, view, photo, keep=True)
        return session_id

    def make_room(self) -> None:
        while self.outbox.drop_oldest(lambda sha256: self.photos.path(sha256).unlink(missing_ok=True)) is not None:
            pass


@pytest.fixture
def bench(home_with_model: Home) -> Bench:
    return Bench(home_with_model)


def test_the_model_that_runs_at_the_end_decides(
    bench: Bench, photo_of: PhotoOf, tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    session_id = bench.begun("bag", logo=photo_of(230), stitching=photo_of(230, seed=1))
    other = Inspector.open(open_bundle(tiny_bundle(tmp_path / "other", bias=-9.0)))
    bench.model = RunningModel(inspector=other, release=ReleaseInfo(name="other", release=2, floor=0))
    record = bench.sessions.finish(session_id, None).record
    assert (record.verdict, record.model.release) == ("authentic", 2)
    assert bench.station.scan(
        request_of("bag", logo=photo_of(230), stitching=photo_of(230, seed=1)), lambda: bench.model
    ).again


def test_a_photo_of_an_open_item_outlives_whatever_else_had_it(bench: Bench, photo_of: PhotoOf) -> None:
    shared = photo_of(20)
    bench.station.scan(request_of("confident", logo=shared, stitching=photo_of(20, seed=3)), lambda: bench.model)
    session_id, second = bench.begun("bag", logo=shared), bench.begun("other", logo=shared)
    bench.make_room()
    bench.sessions.cancel(second)
    with pytest.raises(Unsupported):
        bench.station.scan(request_of("broken", logo=shared, stitching=b"text"), lambda: bench.model)
    assert bench.station.sweep(time.time() + 60) == 0
    assert len(list(bench.photos)) == 1
    bench.sessions.put(session_id, "stitching", photo_of(21), keep=True)
    record = bench.sessions.finish(session_id, None).record
    assert [(record.verdict, reason.code) for reason in record.reasons] == [("uncertain", "same_photo")]


def test_an_item_scanned_before_brings_back_no_photo_that_made_room(bench: Bench, photo_of: PhotoOf) -> None:
    photos = {"logo": photo_of(20), "stitching": photo_of(21)}
    bench.station.scan(request_of("bag", **photos), lambda: bench.model)
    bench.make_room()
    assert bench.sessions.finish(bench.begun("bag", **photos), None).again
    assert list(bench.photos) == []


def test_an_engine_that_fails_leaves_the_item_as_it_was(bench: Bench, photo_of: PhotoOf) -> None:
    session_id = bench.begun("bag", logo=photo_of(20), stitching=photo_of(21))
    good = bench.model

    class Broken:
        ref = good.ref

        @property
        def inspector(self) -> Inspector:
            raise StationFault("engine: out of memory")

    bench.sessions._let_go(session_id)
    bench.model = Broken()  # type: ignore[assignment]
    with pytest.raises(StationFault):
        bench.sessions.finish(session_id, None)
    assert [shot.view for shot in bench.sessions.show(session_id).shots] == ["logo", "stitching"]
    assert len(list(bench.photos)) == 2
    bench.model = good
    assert bench.sessions.finish(session_id, None).record.verdict == "authentic"


def test_few_items_are_held_in_memory_and_none_for_long(
    bench: Bench, photo_of: PhotoOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bench.begun(f"bag {number}", logo=photo_of(20 + number)) for number in range(6)]
    assert list(bench.sessions._held) == ids[2:]
    bench.sessions.tidy()
    assert list(bench.sessions._held) == ids[2:]
    monkeypatch.setattr(under_test, "_HELD_FOR_S", -1.0)
    bench.sessions.tidy()
    assert not bench.sessions._held
    for number, session_id in enumerate(ids):
        bench.sessions.put(session_id, "stitching", photo_of(20 + number, seed=1), keep=True)
        assert bench.sessions.finish(session_id, None).record.verdict == "authentic"


def test_after_a_day_items_are_cancelled_and_finished_ones_forgotten(bench: Bench, photo_of: PhotoOf) -> None:
    left, done = bench.begun("left", logo=photo_of(20)), bench.begun("done", logo=photo_of(140))
    record = bench.sessions.finish(done, None).record
    bench.time += timedelta(hours=23)
    bench.sessions.tidy()
    assert bench.sessions.show(left).item_id == "left"
    assert bench.sessions.finish(done, None).record == record
    bench.time += timedelta(hours=2)
    bench.sessions.tidy()
    for session_id in (left, done):
        with pytest.raises(NotFound):
            bench.sessions.finish(session_id, None)
    assert list(bench.photos) == [record.views[0].photo]
    assert not bench.sessions._turns


def test_there_is_an_end_to_how_many_are_begun_and_how_many_photos_one_has(
    bench: Bench, photo_of: PhotoOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = bench.begun("bag", **{f"view {number}": photo_of(20) for number in range(64)})
    with pytest.raises(Conflict, match="64 photos"):
        bench.sessions.put(session_id, "one more", photo_of(20), keep=True)
    bench.sessions.put(session_id, "view 3", photo_of(21), keep=True)
    monkeypatch.setattr(under_test, "MOST_UNFINISHED", 2)
    bench.begun("second")
    with pytest.raises(Conflict, match="not finished"):
        bench.sessions.begin("third")


def test_a_frame_of_the_camera_is_recorded_as_its_jpeg(bench: Bench) -> None:
    session_id = bench.sessions.begin("bag").session_id
    for level, view in ((20, "logo"), (22, "stitching")):
        frame = Frame(np.full((600, 800, 3), level, np.uint8))
        taken = bench.sessions.put(session_id, view, frame, keep=True)
    record = bench.sessions.finish(session_id, None).record
    assert record.views[1].photo == taken.sha256
    assert (record.verdict, taken.sha256 in bench.photos) == ("authentic", True)
