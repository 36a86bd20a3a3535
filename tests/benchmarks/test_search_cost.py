"""The cost of a search: crops are seeded and large enough, and the memory of every process of the tree counts."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.search_cost import cost_of, write_crops
from runtime.contracts.errors import StationFault

GRANDCHILD = "import time; block = bytearray(120_000_000); block[::4096] = b'x' * len(block[::4096]); time.sleep(1.5)"
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {GRANDCHILD!r}]); print('done')"


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    made = []
    for number, size in enumerate([(300, 400), (260, 230), (100, 500)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        made.append(tmp_path / f"photo{number}.png")
        cv2.imwrite(str(made[-1]), pixels)
    return made


def test_crops_are_many_large_enough_and_the_same_every_time(photos: list[Path], tmp_path: Path) -> None:
    contents = []
    for run in ("a", "b"):
        folder = tmp_path / run
        folder.mkdir()
        assert write_crops(photos, folder, views=5, seed=7) == 15
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    assert len(set(contents[0].values())) == 15
    for path in (tmp_path / "a").iterdir():
        image = cv2.imread(str(path))
        assert image is not None
        assert min(image.shape[:2]) >= 224


def test_a_photo_that_does_not_decode_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(StationFault, match=r"bad\.jpg"):
        write_crops([tmp_path / "bad.jpg"], tmp_path, views=1, seed=0)


def test_memory_of_a_grandchild_counts(tmp_path: Path) -> None:
    cost = cost_of([sys.executable, "-c", CHILD], tmp_path / "log")
    assert cost.exit_code == 0
    assert cost.last_line == "done"
    assert cost.processes >= 2
    assert 120 < cost.peak_pss_mb < 400
    assert cost.wall_s > 1.5
    assert cost.samples > 5


def test_a_command_that_fails_says_what_it_said_last(tmp_path: Path) -> None:
    cost = cost_of([sys.executable, "-c", "import sys; sys.exit('wrong option')"], tmp_path / "log")
    assert cost.exit_code == 1
    assert cost.last_line == "wrong option"
