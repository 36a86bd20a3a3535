from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.quality import CHANGES, refused
from runtime.photo import read_photo
from runtime.preprocess import Frame, Pixels
from runtime.quality import QualityLimits, check_quality, problems_of


def bag(seed: int = 0, side: int = 480) -> Pixels:
    """A textured square on a plain grey ground."""
    pixels = np.full((side, side, 3), 128, np.uint8)
    texture = np.random.default_rng(seed).integers(40, 220, (side // 8, side // 8, 3), np.uint8)
    quarter = side // 4
    pixels[quarter:-quarter, quarter:-quarter] = cv2.resize(
        texture, (side - 2 * quarter, side - 2 * quarter), interpolation=cv2.INTER_NEAREST
    )
    return pixels


def codes(pixels: Pixels, shorter_side_px: int = 1000) -> list[str]:
    return [problem.code for problem in problems_of(pixels, shorter_side_px)]


def test_a_good_photo_on_a_plain_ground_has_no_problem() -> None:
    assert codes(bag()) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("defocused: sigma 1/128 of the side", "blurred"),
        ("shaken: 1/32 of the side, along the rows", "blurred"),
        ("underexposed: 15 % of the light", "too_dark"),
        ("overexposed: 170 added", "too_bright"),
        ("a clipped spot, 2/7 of the side wide", "glare"),
    ],
)
def test_every_fault_is_named_with_what_to_do(change: str, code: str) -> None:
    (problem,) = problems_of(CHANGES[change](bag()), 1000)
    assert problem.code == code
    assert f"{problem.value:.0f}" in problem.text or "%" in problem.text
    assert ":" in problem.text


def test_a_white_ground_is_no_glare_and_a_small_photo_is_told() -> None:
    white = bag()
    white[:100] = 255
    assert codes(white) == []
    assert codes(bag(), shorter_side_px=200) == ["too_small"]
    assert problems_of(bag(), 200, QualityLimits(shorter_side_px=100)) == ()


def test_a_jpeg_and_a_frame_of_the_same_picture_are_judged_alike() -> None:
    encoded = cv2.imencode(".jpg", bag(side=1600))[1].tobytes()
    assert check_quality(read_photo(encoded, "a"), "a") == ()
    assert check_quality(Frame(pixels=cv2.cvtColor(bag(side=1600), cv2.COLOR_BGR2RGB)), "a") == ()
    dim = (bag() * 0.1).astype(np.uint8)
    assert [one.code for one in check_quality(Frame(pixels=dim), "a")] == ["too_dark"]


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 70), st.just(3))))
def test_no_picture_crashes_the_gate(pixels: Pixels) -> None:
    assert all(np.isfinite(problem.value) for problem in problems_of(pixels, min(pixels.shape[:2])))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_plain_picture_is_never_good(level: int) -> None:
    assert codes(np.full((300, 400, 3), level, np.uint8))


def test_real_photos_pass_and_the_same_made_worse_do_not(banknotes: Path) -> None:
    paths = sorted(banknotes.rglob("*.jpg"))[:30]
    photos = [np.asarray(cv2.imread(str(path)), np.uint8) for path in paths]
    assert photos
    assert refused(photos, CHANGES["as they are"])["any"] == 0
    assert refused(photos, CHANGES["shaken: 1/32 of the side, along the rows"])["blurred"] == len(photos)
