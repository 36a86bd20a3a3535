"""What keeps an ONNX network from being compiled at all, each in one sentence. Reads the graph, never runs it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from optimize.sources.graphs import all_graphs, all_nodes, all_tensors, array_of, opset_of
from optimize.sources.run_onnx import VERSION, known_operators
from runtime.contracts.errors import Unsupported

OLDEST_OPSET, NEWEST_OPSET = 7, 26
"""Older operators have no numpy broadcasting; newer ones no engine here has."""
MAX_BYTES = 2**31 - 2**24
"""A protobuf message ends at 2 GiB; the rest is left for the graph."""

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_MASKING = {"Add", "Where", "Max", "Min", "Clip", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"}
"""Operators for which infinity is an honest constant: attention masks, bounds. One number alone is no weight."""
_INTEGER_OPS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
_INTEGER_PREFIXES = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "DynamicQuantize", "MatMulNBits")


def check_network(model: onnx.ModelProto, name: str) -> None:
    """Refuse what can never be compiled.

    Args:
        model: with local functions inlined.
        name: what messages call it.

    Raises:
        Unsupported: the message says what and where.
    """
    _check_opset(model, name)
    _check_operators(model, name)
    if not {one.name for one in model.graph.input} - {one.name for one in model.graph.initializer}:
        raise Unsupported(f"{name}: it has no inputs, so its answer is always the same; export it with an input")
    if not model.graph.output:
        raise Unsupported(f"{name}: it has no outputs; export it with one")
    _check_weights(model, name)


def is_quantised(model: onnx.ModelProto) -> bool:
    """Tell whether a network came with Q/DQ or integer operators, in a subgraph or not."""
    return any(node.op_type in _INTEGER_OPS or node.op_type.startswith(_INTEGER_PREFIXES) for node in all_nodes(model))


def _check_opset(model: onnx.ModelProto, name: str) -> None:
    opset = opset_of(model)
    if opset < OLDEST_OPSET:
        raise Unsupported(
            f"{name}: opset {opset}, expected {OLDEST_OPSET} to {NEWEST_OPSET}; export it again with opset 20"
        )
    if opset > NEWEST_OPSET:
        raise Unsupported(
            f"{name}: opset {opset} is newer than {NEWEST_OPSET}, the newest that the engines here read; "
            "export it again with opset 20"
        )


def _check_operators(model: onnx.ModelProto, name: str) -> None:
    known = known_operators()
    used = {("" if node.domain == "ai.onnx" else node.domain, node.op_type) for node in all_nodes(model)}
    domains = {domain for domain, _ in known}
    unknown = sorted(f"{domain or 'ai.onnx'}:{operator}" for domain, operator in used - known)
    if unknown:
        custom = sorted({domain for domain, _ in used - known if domain not in domains})
        what = f"custom domain {', '.join(custom)}, operators" if custom else "operators"
        raise Unsupported(
            f"{name}: {what} {', '.join(unknown)} that ONNX Runtime {VERSION} does not have; "
            "export the model without them"
        )


def _check_weights(model: onnx.ModelProto, name: str) -> None:
    for where, tensor in all_tensors(model):
        if tensor.data_type not in _FLOATS:
            continue
        values = array_of(tensor)
        if np.isnan(values).any():
            raise Unsupported(f"{name}: weight {where!r} holds NaN; train or export it again")
        if np.isinf(values).any() and values.size > 1 and not _is_mask(model, where):
            raise Unsupported(f"{name}: weight {where!r} holds infinity; train or export it again")


def _is_mask(model: onnx.ModelProto, name: str) -> bool:
    readers = list(_readers(model, name))
    return bool(readers) and all(node.op_type in _MASKING for node in readers)


def _readers(model: onnx.ModelProto, name: str) -> Iterator[onnx.NodeProto]:
    for graph in all_graphs(model.graph):
        for node in graph.node:
            if name in node.input:
                if node.op_type in ("Identity", "Cast", "Expand", "Unsqueeze", "CastLike", "Slice"):
                    yield from _readers(model, node.output[0])
                else:
                    yield node
