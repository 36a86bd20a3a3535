"""Float32 ONNX to FP16 inside: inputs and outputs keep their types, so that callers cannot tell.

A weight beyond FP16's range is refused, because clamping it would change the model without a word; a single constant,
as masks and clipping bounds have them, is clamped. The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from runtime.contracts.errors import Unsupported

LARGEST = 65504.0
"""The largest finite FP16."""


def to_half(model: onnx.ModelProto, keep_float: Sequence[str] = ()) -> onnx.ModelProto:
    """Convert a float network to FP16.

    Args:
        model: float32, its weights inside; it is left as it is.
        keep_float: names of nodes that stay in float32.

    Raises:
        Unsupported: a weight is beyond FP16's range or not a number, or the converter refuses the network.
    """
    for tensor, array in _float_tensors(model.graph, frozenset(keep_float)):
        if np.isnan(array).any():
            raise Unsupported(f"FP16: tensor {tensor!r} holds NaN; repair the model")
        most = float(np.abs(array).max(initial=0))
        if array.size > 1 and most > LARGEST:
            raise Unsupported(
                f"FP16: tensor {tensor!r} has values up to {most:.4g}, and FP16 ends at {LARGEST:.0f}; rescale it, "
                "keep its node in float or keep float32"
            )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        half: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True, node_block_list=list(keep_float))
        _drop_round_trips(half.graph)
        _sort(half.graph)
        onnx.checker.check_model(half)
    except Exception as error:  # its failures share no base
        raise Unsupported(f"FP16: the converter refuses this network: {' '.join(str(error).split())[:300]}") from error
    return half


def _drop_round_trips(graph: onnx.GraphProto) -> None:
    """Keep float32 float between nodes that stay in float: the converter casts it to FP16 and back in between."""
    kinds = {node.output[0]: _cast_to(node) for node in graph.node if node.op_type == "Cast"}
    source = {node.output[0]: node.input[0] for node in graph.node if kinds.get(node.output[0]) == TensorProto.FLOAT16}
    floats = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {value.name for value in graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    for node in graph.node:
        if kinds.get(node.output[0]) == TensorProto.FLOAT and source.get(node.input[0]) in floats:
            node.CopyFrom(helper.make_node("Identity", [source[node.input[0]]], list(node.output), name=node.name))
    used = {name for node in graph.node for name in _read_by(node)} | {value.name for value in graph.output}
    kept = [node for node in graph.node if node.op_type != "Cast" or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(kept)


def _cast_to(node: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == "to")


def _sort(graph: onnx.GraphProto) -> None:
    """Put every node after those that it reads, in place: converters and quantisers append theirs at the end."""
    nodes = list(graph.node)
    producer = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    order: dict[int, None] = {}

    def place(number: int) -> None:
        for name in _read_by(nodes[number]):
            if name in producer and producer[name] not in order and producer[name] != number:
                place(producer[name])
        order.setdefault(number)

    for number in range(len(nodes)):
        place(number)
    ordered = [nodes[number] for number in order]
    del graph.node[:]
    graph.node.extend(ordered)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, its subgraphs' included."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read_by(inner)


def _float_tensors(graph: onnx.GraphProto, kept: frozenset[str]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield the float32 constants that would be converted, subgraphs included."""
    converted = {name for node in graph.node if node.name not in kept for name in node.input}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name in converted:
            yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _float_tensors(attribute.g, kept)
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                yield node.name or node.output[0], numpy_helper.to_array(attribute.t)
