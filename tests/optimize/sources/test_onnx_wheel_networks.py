"""The nine topologies inside the onnx wheel, which nobody here wrote: each is imported, equal to itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.backend.test
import pytest

from optimize.sources.imported import SourceOptions
from optimize.sources.source import import_source
from tests.optimize.sources.small_networks import pixels_of
from tests.optimize.sources.test_photo_networks import answer

LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"
LARGE = {"light_vgg19"}  # its dense layers make half a gigabyte out of nothing
NAMES = sorted(path.stem for path in LIGHT.glob("*.onnx"))


def test_the_wheel_still_brings_nine() -> None:
    assert len(NAMES) == 9


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in NAMES]
)
def test_a_topology_of_the_onnx_wheel_becomes_a_classifier_of_photos(
    name: str, photos: list[Path], plain: SourceOptions
) -> None:
    imported = import_source(str(LIGHT / f"{name}.onnx"), plain, photos[:1], None)
    assert (imported.kind, imported.px) == ("photos", 224)
    assert imported.network.opset_import[0].version == 20
    assert any("batch was fixed to 1" in note for note in imported.notes)
    assert imported.parity.cosine > 0.9999
    if name not in {"light_bvlc_alexnet", "light_zfnet512", *LARGE}:
        logits = answer(imported.network, pixels_of(photos[:2], 224))
        assert logits.shape == (2, 1000)
        assert np.isfinite(logits).all()
