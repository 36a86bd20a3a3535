"""A Q/DQ network that every CPU computes as an engine with 32-bit sums would: for judging, never for shipping.

ONNX Runtime fuses Q/DQ into the kernels of the CPU at hand. Without VNNI those sum in 16 bits and saturate: the signed
file meant for a GPU or a phone scored 1.4 dB of signal to noise on an AVX2 CPU, where its exact arithmetic has 18.7 dB.
Here a dequantised value is a cast and a product, which nothing fuses, so values are rounded as in the Q/DQ file and
products are summed in float.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from optimize.half import sort_nodes
from runtime.contracts.errors import Unsupported


def unfused(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without ``DequantizeLinear``; weights are dequantised ahead, activations by arithmetic.

    Raises:
        Unsupported: a scale or zero point is not constant.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in constants:
            constants[node.output[0]] = numpy_helper.from_array(_quantised(node, constants), node.output[0])
        elif node.op_type != "DequantizeLinear":
            nodes.append(node)
        elif node.input[0] in constants:
            value = _dequantised(node, constants)
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        else:
            nodes += _arithmetic(node, constants, graph)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    sort_nodes(graph)
    return plain


def _parameters(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], rank: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return scale and zero point of a node, shaped to broadcast along its axis."""
    missing = [name for name in node.input[1:] if name and name not in constants]
    if missing:
        raise Unsupported(f"node {node.name!r}: {missing[0]!r} is no constant, so it cannot be judged here")
    scale = numpy_helper.to_array(constants[node.input[1]])
    has_zero = len(node.input) > 2 and node.input[2]
    zero = numpy_helper.to_array(constants[node.input[2]]) if has_zero else np.zeros_like(scale)
    if scale.ndim and scale.size > 1:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        if rank is None:
            raise Unsupported(f"node {node.name!r}: an activation quantised per channel cannot be judged here")
        shape = [1] * rank
        shape[axis] = scale.size
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return scale, zero.astype(np.float32)


def _quantised(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> npt.NDArray[Any]:
    exact = numpy_helper.to_array(constants[node.input[0]])
    scale, zero = _parameters(node, constants, exact.ndim)
    has_zero = len(node.input) > 2 and node.input[2]
    kind = numpy_helper.to_array(constants[node.input[2]]).dtype if has_zero else np.dtype(np.uint8)
    limits = np.iinfo(kind)
    rounded: npt.NDArray[Any] = np.clip(np.rint(exact / scale) + zero, limits.min, limits.max)
    return rounded.astype(kind)


def _dequantised(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> npt.NDArray[Any]:
    stored = numpy_helper.to_array(constants[node.input[0]])
    scale, zero = _parameters(node, constants, stored.ndim)
    exact: npt.NDArray[Any] = (stored.astype(np.float32) - zero) * scale.astype(np.float32)
    return exact.astype(scale.dtype)


def _arithmetic(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    scale, zero = _parameters(node, constants, None)
    name = node.output[0]
    kind = constants[node.input[1]].data_type
    for suffix, value in (("scale", scale.reshape(())), ("zero", zero.astype(scale.dtype).reshape(()))):
        graph.initializer.append(numpy_helper.from_array(value, f"{name}_unfused_{suffix}"))
    return [
        helper.make_node("Cast", [node.input[0]], [f"{name}_unfused_cast"], name=f"{name}_unfused_cast", to=kind),
        helper.make_node(
            "Sub",
            [f"{name}_unfused_cast", f"{name}_unfused_zero"],
            [f"{name}_unfused_centred"],
            name=f"{name}_unfused_centred",
        ),
        helper.make_node(
            "Mul", [f"{name}_unfused_centred", f"{name}_unfused_scale"], [name], name=f"{name}_unfused_scaled"
        ),
    ]
