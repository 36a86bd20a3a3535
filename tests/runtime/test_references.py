from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.quality import view_errors
from runtime.bundle_store import open_bundle
from runtime.preprocess import Pixels
from runtime.references import References, describe_pixels


def stripes(across: bool, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).integers(0, 40, (120, 120, 3))
    wave = (np.arange(120) // 8 % 2 * 200).astype(int)
    pattern = np.broadcast_to(wave[:, None] if across else wave[None, :], (120, 120))
    return (pattern[:, :, None] + noise).clip(0, 255).astype(np.uint8)


def test_a_photo_is_most_like_itself_and_more_like_its_own_view() -> None:
    one, same, other = (describe_pixels(stripes(*what)) for what in ((True, 1), (True, 2), (False, 3)))
    assert one @ one == pytest.approx(1.0, abs=1e-5)
    assert one @ same > one @ other + 0.1


def test_swapped_views_are_refused_and_right_ones_are_not() -> None:
    described = {
        f"item-{n}": {"logo": describe_pixels(stripes(True, n)), "back": describe_pixels(stripes(False, 50 + n))}
        for n in range(12)
    }
    assert view_errors(described) == (0.0, 1.0)


def test_a_bundle_gives_the_nearest_of_its_golden_photos(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    bundle = open_bundle(tiny_bundle(tmp_path / "bundle"))
    references = References(bundle)
    for view in bundle.manifest.views:
        file = references.files(view)[0]
        found = references.nearest(view, describe_pixels(np.asarray(cv2.imread(str(bundle.path(file))), np.uint8)))
        assert found is not None
        assert found.file in references.files(view)
        assert found.similarity > 0.9
    assert references.nearest("no such view", describe_pixels(stripes(True, 1))) is None


def test_plain_photos_have_a_descriptor_too() -> None:
    for level in (0, 255):
        assert np.isfinite(describe_pixels(np.full((40, 40, 3), level, np.uint8))).all()
