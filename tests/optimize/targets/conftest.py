"""The backbone with its calibration on real photos, made once for all targets."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from optimize.backbone import BACKBONES, export, load
from optimize.calibrate import collect_ranges
from optimize.quantize import prepare_network
from optimize.samples import photo_feeds, write_samples
from optimize.targets.target import Inputs
from tests.conftest import SHARED_DATA

PHOTOS = 16
LITE0 = BACKBONES["lite0"]


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """EfficientNet-Lite0, 224 px, calibrated on 16 real photos; or a skip that says where they are looked for."""
    photos = sorted(path for path in (SHARED_DATA / "photos").rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if len(photos) < PHOTOS:
        pytest.skip(f"no real photos at {SHARED_DATA / 'photos'}; set TOUCHSTONE_DATA")
    folder: Path = tmp_path_factory.mktemp("backbone")
    onnx.save(prepare_network(export(load(LITE0, LITE0.px), LITE0.px)), folder / "network.onnx")
    samples = write_samples(folder / "samples", photo_feeds(photos[:: len(photos) // PHOTOS][:PHOTOS], LITE0.px))
    collect_ranges(folder / "network.onnx", samples, folder / "ranges.npz")
    return Inputs(network=folder / "network.onnx", ranges=folder / "ranges.npz", samples=samples)
