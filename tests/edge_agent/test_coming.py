"""Items that are watched as they come: less is left at the end, and the record is the same as without."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.capture import read_item
from edge_agent.coming import Coming
from edge_agent.home import Home
from edge_agent.model_slot import RunningModel
from runtime.bundle_store import open_bundle
from runtime.contracts.errors import Unsupported
from runtime.contracts.sync import ReleaseInfo
from runtime.inspector import Inspector
from tests.edge_agent.test_daemon import wait_until
from tests.edge_agent.test_station import Rig

PhotoOf = Callable[..., bytes]


class Bench(Rig):
    """A station whose inbox is watched; ``model`` is whatever runs at the moment."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.coming = Coming(home, self.station, lambda: self.model)

    def fill(self, name: str, **photos: bytes) -> Path:
        folder = self.home.inbox / f"{name}.part"
        folder.mkdir(exist_ok=True)
        for view, data in photos.items():
            (folder / f"{view}.jpg").write_bytes(data)
        return folder

    def settle(self, photos: int) -> None:
        wait_until(lambda: len(list(self.photos)) == photos, f"{photos} photos are stored")


@pytest.fixture
def bench(home_with_model: Home) -> Bench:
    return Bench(home_with_model)


def name_it(folder: Path) -> Path:
    return folder.rename(folder.with_suffix(""))


def test_photos_are_stored_while_the_folder_is_still_being_filled(bench: Bench, photo_of: PhotoOf) -> None:
    folder = bench.fill("bag", logo=photo_of(20))
    assert bench.coming.look()
    bench.settle(1)
    folder = name_it(bench.fill("bag", **{"stitching~2": photo_of(22), "stitching": photo_of(21)}))
    watched = bench.coming.finish(folder)
    assert watched is not None
    assert (watched.record.item_id, watched.record.verdict) == ("bag", "authentic")
    whole = bench.station.scan(read_item(folder), lambda: bench.model)
    assert (whole.again, whole.record) == (True, watched.record)
    assert not bench.coming.look()


def test_a_folder_that_was_never_watched_is_left_to_be_read(bench: Bench, photo_of: PhotoOf) -> None:
    assert bench.coming.finish(name_it(bench.fill("bag", logo=photo_of(20)))) is None


def test_a_photo_that_is_not_whole_yet_is_taken_when_it_is(bench: Bench, photo_of: PhotoOf) -> None:
    whole = photo_of(20)
    folder = bench.fill("bag", logo=whole[:-300])
    bench.coming.look()
    bench.coming.look()
    assert list(bench.photos) == []
    bench.fill("bag", logo=whole)
    bench.coming.look()
    bench.settle(1)
    watched = bench.coming.finish(name_it(folder))
    assert watched is not None
    assert len(watched.record.views) == 1


def test_a_photo_that_goes_as_it_is_looked_at_is_no_fault(
    bench: Bench, photo_of: PhotoOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bench.fill("bag", logo=photo_of(20), stitching=photo_of(21))
    listed = Path.glob

    def list_then_take_away(place: Path, pattern: str) -> list[Path]:
        found = list(listed(place, pattern))
        (folder / "logo.jpg").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "glob", list_then_take_away)
    bench.coming.look()
    monkeypatch.undo()
    bench.settle(1)
    watched = bench.coming.finish(name_it(folder))
    assert watched is not None
    assert [view.view for view in watched.record.views] == ["stitching"]


@pytest.mark.parametrize("change", ["replaced", "removed", "grown"])
def test_an_item_of_which_a_taken_photo_changed_is_read_anew(bench: Bench, photo_of: PhotoOf, change: str) -> None:
    folder = bench.fill("bag", logo=photo_of(20), stitching=photo_of(21))
    bench.coming.look()
    bench.settle(2)
    if change == "replaced":
        bench.fill("bag", logo=photo_of(230))
    elif change == "removed":
        (folder / "logo.jpg").unlink()
    else:
        with (folder / "logo.jpg").open("ab") as file:
            file.write(b"more")
    folder = name_it(folder)
    assert bench.coming.finish(folder) is None
    assert list(bench.photos) == []
    assert bench.station.scan(read_item(folder), lambda: bench.model).record.item_id == "bag"


def test_an_item_that_is_taken_away_leaves_no_trace(bench: Bench, photo_of: PhotoOf) -> None:
    folder = bench.fill("bag", logo=photo_of(20))
    bench.coming.look()
    bench.settle(1)
    folder.rename(bench.home.root / "elsewhere")
    assert not bench.coming.look()
    assert list(bench.photos) == []


def test_an_item_that_was_begun_with_the_model_before_is_read_anew(
    bench: Bench, photo_of: PhotoOf, tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    folder = bench.fill("bag", logo=photo_of(230), stitching=photo_of(230))
    bench.coming.look()
    other = Inspector.open(open_bundle(tiny_bundle(tmp_path / "other", bias=-9.0)))
    bench.model = RunningModel(inspector=other, release=ReleaseInfo(name="other", release=2, floor=0))
    assert bench.coming.finish(name_it(folder)) is None


def test_what_is_wrong_with_an_item_is_told_when_it_is_finished(bench: Bench, photo_of: PhotoOf) -> None:
    folder = bench.fill("bag", logo=photo_of(20), stitching=b"text")
    bench.coming.look()
    bench.settle(1)
    with pytest.raises(Unsupported, match="stitching"):
        bench.coming.finish(name_it(folder))
    assert bench.outbox.tally().recorded == 0
    assert list(bench.photos) == []
    odd = bench.fill("odd", logo=photo_of(20))
    bench.coming.look()
    (odd / "notes.txt").write_text("hello")
    with pytest.raises(Unsupported, match=r"notes\.txt"):
        bench.coming.finish(name_it(odd))
    assert list(bench.photos) == []


def test_two_items_at_most_are_held_in_memory_the_latest_ones(bench: Bench, photo_of: PhotoOf) -> None:
    for number, name in enumerate(("first", "second", "third"), 1):
        folder = bench.fill(name, logo=photo_of(20 + number))
        os.utime(folder, (number, number))
        bench.coming.look()
    bench.settle(2)
    assert bench.coming.finish(name_it(bench.home.inbox / "first.part")) is None
    assert bench.coming.finish(name_it(bench.home.inbox / "third.part")) is not None
