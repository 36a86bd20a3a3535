"""What an ONNX must look like for TensorRT's parser, which is the same for TensorRT and TensorRT-RTX.

Networks are strongly typed there, so FP16 is written into the graph; and bytes can only be cast, so the input's cast
comes first. The result is still plain ONNX: ONNX Runtime runs it, and it is what is judged where there is no GPU.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from optimize.half import to_half
from optimize.quantize import QdqStyle, quantize_plan
from optimize.targets.target import Inputs, Plan
from optimize.unsigned import to_unsigned
from runtime.contracts.errors import Unsupported

STYLE = QdqStyle(activation="int8", for_tensorrt=True)

_HALF_SCALES = 19  # ONNX operator set from which Q/DQ take FP16
_SMALL = frozenset({TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16})


def half_network(inputs: Inputs) -> onnx.ModelProto:
    """Return the network in FP16.

    Raises:
        Unsupported: it does not fit into FP16.
    """
    return to_half(cast_first(onnx.load(inputs.network)), inputs.keep_float)


def int8_networks(plan: Plan, inputs: Inputs) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return the network in INT8 Q/DQ, in FP16 around it where its operator set allows that; and what is judged for it.

    That is its unsigned twin in float32: x86 saturates on signed files, and ONNX Runtime's fused kernels multiply FP16
    scales in FP16, where they vanish (EfficientNet-Lite0 came out as noise).

    Raises:
        Unsupported: the quantiser refuses it, or it does not fit into FP16.
    """
    model = cast_first(quantize_plan(inputs, plan, STYLE))
    version = max(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    half = to_half(model, inputs.keep_float) if version >= _HALF_SCALES else model
    return half, to_unsigned(model)


def cast_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose small-integer inputs become float32 before anything else is done with them.

    What lies between such an input and its own cast only moves elements, so the values are the same.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    casts = []
    for value in graph.input:
        if value.type.tensor_type.elem_type not in _SMALL:
            continue
        name = f"{value.name}_as_float"
        if name in taken:
            raise Unsupported(f"network: tensor name {name!r} is taken; rename it")
        for node in graph.node:
            node.input[:] = [name if one == value.name else one for one in node.input]
        casts.append(helper.make_node("Cast", [value.name], [name], name=name, to=TensorProto.FLOAT))
    if casts:
        others = [value for value in graph.value_info if value.type.tensor_type.elem_type not in _SMALL]
        nodes = [*casts, *graph.node]
        del graph.value_info[:], graph.node[:]
        graph.value_info.extend(others)
        graph.node.extend(nodes)
    return changed
