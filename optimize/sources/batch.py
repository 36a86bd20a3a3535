"""Makes the number of photos in a batch free where an export fixed it. Never says whether that worked: run it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from optimize.sources.graphs import array_of, constants, free_name, shape_of

BATCH = "N"


def free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose first dimension is ``N`` at its inputs and outputs, and in the Reshapes between.

    Args:
        model: with one input, whose first dimension counts photos.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    fixed = (shape_of(graph.input[0]) or (None,))[0]
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and (value is graph.input[0] or not dims[0].HasField("dim_value") or dims[0].dim_value == fixed):
            dims[0].dim_param = BATCH
    del graph.value_info[:]
    _free_reshapes(graph, 1 if fixed is None else fixed)
    return copy


def _free_reshapes(graph: onnx.GraphProto, fixed: int) -> None:
    """Let every Reshape between input and output take its first dimension from what it gets."""
    known, downstream = constants(graph), {graph.input[0].name}
    for node in graph.node:
        if not downstream & set(node.input):
            continue
        downstream |= set(node.output)
        if node.op_type != "Reshape" or node.input[1] not in known:
            continue
        shape = array_of(known[node.input[1]]).astype(np.int64)
        if shape.ndim != 1 or shape.size == 0 or shape[0] != fixed:
            continue
        shape[0] = 0 if -1 in shape else -1
        name = free_name(graph, f"{node.input[1]}_any_batch")
        graph.initializer.append(numpy_helper.from_array(shape, name))
        node.input[1] = name


def batch_of(model: onnx.ModelProto) -> int | None:
    """Return the batch that the first input fixes; ``None`` where it is free."""
    shape = shape_of(model.graph.input[0])
    return shape[0] if shape else None


def photo_value(name: str, dtype: int, *shape: int | str) -> onnx.ValueInfoProto:
    """Describe an input or output whose first dimension is ``N``."""
    return helper.make_tensor_value_info(name, dtype, [BATCH, *shape])
