"""A small photo network with one layer that INT8 ruins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from optimize.onnx_bytes import save_onnx
from optimize.quantize import QdqStyle, quantize
from optimize.targets.target import Inputs
from tests.optimize.targets.engine_networks import photo_network

SPOILT = "point"
STYLE = QdqStyle(activation="uint8", reduce_range=True)
"""Exact on every x86: what is measured is rounding alone, and no saturation of a CPU without VNNI."""


def spoilt_network() -> onnx.ModelProto:
    """Give every channel of a layer one huge weight on an input that is always zero: only the scale feels it."""
    model = photo_network()
    for name, place, value in (("depth_w", 0, 0.0), ("depth_b", 0, 0.0), ("point_w", (slice(None), 0), 60.0)):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        array = numpy_helper.to_array(tensor).copy()
        array[place] = np.float32(value)
        tensor.CopyFrom(numpy_helper.from_array(array, name))
    return model


def quantised(inputs: Inputs, path: Path, *excluded: str) -> Path:
    """Quantise with MinMax ranges."""
    assert inputs.ranges is not None
    save_onnx(quantize(inputs.network, inputs.ranges, STYLE, "minmax", excluded), path)
    return path
