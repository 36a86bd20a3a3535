"""The same quantised network with every INT8 tensor as UINT8, 128 higher: the same integers, whatever the CPU.

Without VNNI, x86 sums two products of UINT8 and INT8 in 16 bits and saturates; UINT8 by UINT8 is exact on every CPU. So
the twin tells on any machine what exact kernels (ARM, WebAssembly) give. It never changes a scale.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_PAIRS = ("QuantizeLinear", "DequantizeLinear")
_OFFSET = 128


def to_unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the twin of a QDQ network from ``optimize.quantize``; every pair there has a constant zero point."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in twin.graph.initializer}
    pairs = [node for node in twin.graph.node if node.op_type in _PAIRS]
    for name in sorted({name for node in pairs for name in (node.input[0], node.input[2]) if name in constants}):
        tensor = constants[name]
        if tensor.data_type == TensorProto.INT8:
            raised = (numpy_helper.to_array(tensor).astype(np.int16) + _OFFSET).astype(np.uint8)
            tensor.CopyFrom(numpy_helper.from_array(raised, name))
    activations = {node.output[0] for node in pairs if node.op_type == "QuantizeLinear"}
    for value in twin.graph.value_info:
        if value.name in activations and value.type.tensor_type.elem_type == TensorProto.INT8:
            value.type.tensor_type.elem_type = TensorProto.UINT8
    return twin
