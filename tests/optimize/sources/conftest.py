"""A few photos for every import, and the options of a user who says nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from optimize.sources.imported import SourceOptions


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four photos that differ."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(3)
    for index in range(4):
        small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path = folder / f"{index}.jpg"
        assert cv2.imwrite(str(path), cv2.resize(small, (128, 96)))
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def plain() -> SourceOptions:
    return SourceOptions()
