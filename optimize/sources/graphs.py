"""Reading and editing ONNX graphs: nodes in every subgraph, constants, names. Never runs one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and every subgraph of If, Loop and Scan in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
            for one in inner:
                yield from all_graphs(one)


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node, those of subgraphs and of local functions included."""
    for graph in all_graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def all_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Yield (name, tensor) of every initializer and every constant, those of subgraphs included."""
    for graph in all_graphs(model.graph):
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield node.output[0] if node.op_type == "Constant" else f"{node.name}.{attribute.name}", attribute.t


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators; 1 where the file has none."""
    return next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 1)


def constants(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """Return name to value of the graph's initializers and Constant nodes."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def array_of(tensor: TensorProto) -> npt.NDArray[np.generic]:
    """Return a tensor's value."""
    return np.asarray(numpy_helper.to_array(tensor))


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Return name of a value to the node that gives it."""
    return {name: node for node in graph.node for name in node.output if name}


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give one value of a graph another name, in its subgraphs too."""
    for one in all_graphs(graph):
        for node in one.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for value in (*one.input, *one.output, *one.value_info, *one.initializer):
            if value.name == old:
                value.name = new


def free_name(graph: onnx.GraphProto, wanted: str) -> str:
    """Return a name like the wanted one that nothing in the graph has."""
    taken = {name for one in all_graphs(graph) for node in one.node for name in (*node.input, *node.output)}
    taken |= {v.name for one in all_graphs(graph) for v in (*one.input, *one.output, *one.initializer)}
    while wanted in taken:
        wanted += "_"
    return wanted


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | None, ...] | None:
    """Return a value's shape, ``None`` for a dimension that varies; ``None`` alone where the rank is unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim)
