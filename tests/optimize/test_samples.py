"""Feeds on disk come back as they were, and their digest knows every byte of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from optimize.samples import photo_feeds, write_samples
from optimize.scoring import CHUNK
from optimize.sources.imported import PHOTO
from runtime.contracts.errors import Unsupported
from runtime.preprocess import prepare
from tests.conftest import make_photo

Array = npt.NDArray[np.generic]

names = st.sampled_from(["x", "image:0", "a/b", "file", "args", "allow_pickle", "é"])
some = st.one_of(
    arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, max_side=3), elements=st.floats(-9, 9, width=32)),
    arrays.arrays(np.int64, arrays.array_shapes(max_dims=2, max_side=3)),
    arrays.arrays(np.uint8, ()),
    arrays.arrays(np.bool_, (2,)),
)
feeds_of = st.lists(st.dictionaries(names, some, min_size=1, max_size=3), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(feeds_of)
def test_feeds_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, feeds: list[dict[str, Array]]) -> None:
    samples = write_samples(tmp_path_factory.mktemp("s") / "feeds", feeds)
    assert samples.feeds == len(feeds)
    for number, (feed, read) in enumerate(zip(feeds, samples.read(), strict=True)):
        for one in (read, samples.feed(number)):
            assert one.keys() == feed.keys()
            for name, array in feed.items():
                assert one[name].dtype == array.dtype
                np.testing.assert_array_equal(one[name], array)


@settings(deadline=None, max_examples=40)
@given(feeds_of, st.data())
def test_the_digest_tells_one_changed_byte(
    tmp_path_factory: pytest.TempPathFactory, feeds: list[dict[str, Array]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("s")
    before = write_samples(folder / "before", feeds).digest
    assert write_samples(folder / "again", [dict(reversed(feed.items())) for feed in feeds]).digest == before
    place = data.draw(st.integers(0, len(feeds) - 1))
    name = data.draw(st.sampled_from(sorted(feeds[place])))
    changed: list[Mapping[str, Array]] = [dict(feed) for feed in feeds]
    array = feeds[place][name].copy()
    raw = array.reshape(-1).view(np.uint8)
    raw[data.draw(st.integers(0, raw.size - 1))] ^= 1
    changed[place] = {**feeds[place], name: array}
    assert write_samples(folder / "changed", changed).digest != before


def test_another_dtype_shape_name_or_order_is_another_digest(tmp_path: Path) -> None:
    a, b = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    variants: list[list[dict[str, Array]]] = [
        [{"x": a}, {"x": b}],
        [{"x": b}, {"x": a}],
        [{"y": a}, {"y": b}],
        [{"x": a.reshape(3, 2)}, {"x": b}],
        [{"x": a.astype(np.int32)}, {"x": b}],
        [{"x": a}],
    ]
    digests = {write_samples(tmp_path / str(place), feeds).digest for place, feeds in enumerate(variants)}
    assert len(digests) == len(variants)


def test_rows_are_counted_along_the_first_input(tmp_path: Path) -> None:
    feeds: list[dict[str, Array]] = [
        {"x": np.zeros((5, 2)), "n": np.array(1)},
        {"x": np.zeros((2, 2)), "n": np.array(1)},
    ]
    assert write_samples(tmp_path / "a", feeds).rows == 7
    assert write_samples(tmp_path / "b", [{"n": np.array(1)}] * 3).rows == 3


def test_nothing_to_write_is_nothing_to_read(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "s", [])
    assert (samples.feeds, samples.rows, list(samples.read())) == (0, 0, [])


def test_at_most_as_many_feeds_are_read_as_asked_for(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "s", ({"x": np.array([number])} for number in range(5)))
    assert [feed["x"].item() for feed in samples.read(3)] == [0, 1, 2]
    assert len(list(samples.read(9))) == 5
    assert list(samples.read(0)) == []


def test_the_same_feeds_make_the_same_files(tmp_path: Path) -> None:
    def written(name: str) -> list[str]:
        write_samples(tmp_path / name, ({"x": np.full((2, 2), number)} for number in range(3)))
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / name).iterdir())]

    assert written("a") == written("b")
    assert len(set(written("c"))) == 3


def test_a_feed_that_cannot_be_made_ends_the_writing(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(Unsupported, match=r"bad\.jpg"):
        write_samples(tmp_path / "s", photo_feeds([tmp_path / "bad.jpg"], 32))


def test_photos_are_fed_eight_at_a_time_as_a_station_prepares_them(tmp_path: Path) -> None:
    paths = []
    for number in range(CHUNK + 3):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(make_photo(10 * number, seed=number))
    feeds = list(photo_feeds(paths, 32))
    assert [feed[PHOTO].shape for feed in feeds] == [(8, 32, 32, 3), (3, 32, 32, 3)]
    expected = prepare([path.read_bytes() for path in paths], 32)
    np.testing.assert_array_equal(np.concatenate([feed[PHOTO] for feed in feeds]), expected)
    assert feeds[0][PHOTO].dtype == np.uint8
    assert cv2.imread(str(paths[0])) is not None
