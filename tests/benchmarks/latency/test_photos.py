from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.latency.photos import HEIGHT_PX, WIDTH_PX, Ring, enlarged, given_item, golden_items
from edge_agent.photo_stamp import stamped
from runtime.bundle_store import open_bundle
from runtime.contracts.errors import Unsupported
from runtime.photo import sanitise


def pixels(photo: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)


def test_every_number_gives_a_photo_bytes_of_its_own_that_a_station_keeps_and_the_same_pixels(
    photo_of: Callable[..., bytes],
) -> None:
    photo = photo_of(120)
    kept = {sanitise(stamped(photo, number), "photo") for number in (0, 1, 65534, 65535, 65536, 10**6)}
    assert len(kept) == 6
    for one in kept:
        assert np.array_equal(pixels(one), pixels(photo))


def test_a_ring_shows_its_items_in_turn_and_each_showing_is_new(tmp_path: Path, photo_of: Callable[..., bytes]) -> None:
    ring = Ring(tmp_path / "shown", [{"logo": photo_of(90)}, {"logo": photo_of(200)}])
    seen = [Path(ring.show(number)["logo"]).read_bytes() for number in range(6)]
    assert len(set(seen)) == 6
    assert np.array_equal(pixels(seen[0]), pixels(seen[2]))
    assert not np.array_equal(pixels(seen[0]), pixels(seen[1]))
    assert [ring.slot(number) for number in range(3)] == [0, 1, 0]
    assert len(list((tmp_path / "shown").iterdir())) == 2


def test_no_two_photos_that_are_shown_have_the_same_bytes_whatever_the_view_item_or_ring(
    tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    item = {"logo": photo_of(90), "stitching": photo_of(90)}
    rings = [Ring(tmp_path / name, [item, item]) for name in ("one", "other")]
    seen = [Path(path).read_bytes() for ring in rings for number in range(3) for path in ring.show(number).values()]
    assert len(set(seen)) == len(seen) == 12


def test_enlarged_photos_have_12_megapixels_and_weigh_what_a_phones_do(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    item = golden_items(open_bundle(tiny_bundle(tmp_path / "bundle")), 1)[0]
    assert set(item) == {"logo", "stitching"}
    large = enlarged({"logo": item["logo"]})
    assert pixels(large["logo"]).shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert 2e6 < len(large["logo"]) < 8e6


def test_where_views_are_exchangeable_an_item_has_six_photos(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    bundle = open_bundle(tiny_bundle(tmp_path / "bundle", views=("*",)))
    assert list(golden_items(bundle, 1)[0]) == [f"view-{number}" for number in range(1, 7)]


def test_a_users_own_photos_are_shown_as_they_are_and_a_missing_one_is_named(
    tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    plain = photo_of(120)
    end = 4 + int.from_bytes(plain[4:6], "big")  # of the JFIF header, which phones leave out
    (tmp_path / "logo.jpg").write_bytes(plain[:2] + plain[end:])
    item = given_item(tmp_path, ["logo"])
    assert np.array_equal(pixels(stamped(item["logo"], 7)), pixels(plain))
    with pytest.raises(Unsupported, match=r"stitching\.jpg"):
        given_item(tmp_path, ["logo", "stitching"])
    (tmp_path / "stitching.jpg").write_bytes(b"\x89PNG and so on")
    with pytest.raises(Unsupported, match="expected a JPEG"):
        given_item(tmp_path, ["stitching"])
