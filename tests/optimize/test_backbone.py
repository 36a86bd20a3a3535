from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto

from optimize import backbone

LITE0 = backbone.BACKBONES["lite0"]


def test_photos_are_normalised_as_the_backbone_was_trained() -> None:
    """EfficientNet-Lite wants (x - 127) / 128, red first."""
    embedder = backbone.load(LITE0, 64, LITE0.blocks)  # the stem then ends before the first block
    photo = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    wanted = torch.from_numpy(((photo.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        expected = embedder.net._swish(embedder.net._bn0(embedder.net._conv_stem(wanted)))
        assert torch.equal(embedder.stem(torch.from_numpy(photo)), expected)


def test_only_the_tail_may_be_trained() -> None:
    embedder = backbone.load(LITE0, LITE0.px, 2)
    tail = {id(parameter) for parameter in embedder.tail_parameters()}
    names = {".".join(name.split(".")[1:3]) for name, one in embedder.named_parameters() if id(one) in tail}
    assert names == {"_blocks.14", "_blocks.15", "_conv_head.weight", "_bn1.weight", "_bn1.bias"}
    assert len(embedder.net._blocks) == LITE0.blocks


def test_the_network_eats_photos_as_they_were_decoded(model: Path) -> None:
    """Bytes in: normalisation lies inside the graph, where it cannot differ between training and a station."""
    (photo,) = onnx.load(model / "model.onnx").graph.input
    assert photo.type.tensor_type.elem_type == TensorProto.UINT8
    assert [size.dim_value for size in photo.type.tensor_type.shape.dim][1:] == [224, 224, 3]
