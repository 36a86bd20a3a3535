"""The backbone of this project is a torch module like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from optimize import backbone
from optimize.sources.imported import SourceOptions
from optimize.sources.source import import_source
from tests.optimize.sources.small_networks import pixels_of
from tests.optimize.sources.test_photo_networks import answer

HERE = "tests.optimize.sources.test_backbone_as_source"


def efficientnet() -> nn.Module:
    return backbone.load(backbone.BACKBONES["lite0"], 224)


@pytest.mark.slow
def test_efficientnet_lite0_is_imported_with_its_own_normalisation(photos: list[Path], plain: SourceOptions) -> None:
    imported = import_source(f"{HERE}:efficientnet", plain, photos[:2], None)
    assert (imported.kind, imported.px) == ("photos", 224)
    pixels = pixels_of(photos[:2], imported.px)
    with torch.no_grad():
        expected = efficientnet()(torch.from_numpy(pixels)).numpy()
    assert expected.shape == (2, backbone.EMBEDDING)
    assert np.allclose(answer(imported.network, pixels), expected, atol=1e-3)
    assert not any("ImageNet" in note for note in imported.notes)
