"""Takes the mean error that rounding weights makes out again, through the biases that are there anyway.

Rounded weights shift every output channel by the rounding error times the mean of the channel's inputs; the bias takes
it back, at no cost at run time (Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias
Correction, equation 17, with means from calibration).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Floats = npt.NDArray[np.float32]

LEVELS, REDUCED_LEVELS = 127, 64
"""Greatest integer of symmetric INT8 weights, and of those with reduced range."""


def correctable(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the convolutions whose weight and bias are constants of their own."""
    constants = {tensor.name for tensor in model.graph.initializer}
    uses: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    return [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and len(node.input) == 3
        and {node.input[1], node.input[2]} <= constants
        and uses[node.input[2]] == 1
    ]


def correct_biases(
    model: onnx.ModelProto, means: Mapping[str, Floats], levels: int, excluded: Collection[str]
) -> onnx.ModelProto:
    """Return a copy with corrected biases.

    Args:
        model: prepared float network.
        means: of every convolution's input, by tensor: ``float32 (C,)``.
        levels: greatest integer of the weights.
        excluded: nodes that stay in float, and so keep their bias.
    """
    corrected = onnx.ModelProto()
    corrected.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in corrected.graph.initializer}
    for node in correctable(corrected):
        mean = means.get(node.input[0])
        if mean is None or node.name in excluded:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        bias = constants[node.input[2]]
        shift = _shift(weight, mean, levels)
        bias.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(bias) - shift).astype(np.float32), bias.name))
    return corrected


def _shift(weight: Floats, mean: Floats, levels: int) -> Floats:
    """Return the mean error of every output channel; weight ``(O, C / groups, ...)``, mean ``(C,)``."""
    flat = weight.reshape(weight.shape[0], -1)
    scale = np.abs(flat).max(1, keepdims=True) / levels
    scale = np.where(scale == 0, 1, scale)
    error = (np.clip(np.round(flat / scale), -levels, levels) * scale - flat).reshape(*weight.shape[:2], -1).sum(2)
    groups = mean.size // weight.shape[1]
    of_group = mean.reshape(groups, weight.shape[1])[np.arange(weight.shape[0]) * groups // weight.shape[0]]
    return np.asarray((error * of_group).sum(1), np.float32)
