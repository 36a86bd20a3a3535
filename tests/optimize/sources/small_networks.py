"""Small ONNX files such as strangers bring: classifiers of photos of every make, and networks that are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.preprocess import prepare

PX = 32
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def pixels_of(paths: Sequence[Path], px: int = PX) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return prepare([path.read_bytes() for path in paths], px)


def value(name: str, kind: int, *shape: int | str | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def weight(name: str, *shape: int, seed: int = 0) -> TensorProto:
    return numpy_helper.from_array(np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32), name)


def constant(name: str, values: object, dtype: object = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype), name)


def network(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[TensorProto] = (),
    opset: int = 20,
    ir: int = 9,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "small", list(inputs), list(outputs), list(weights))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir)


def classifier(
    columns: int = 5,
    *,
    ending: str | None = "Softmax",
    layout: str = "nchw",
    batch: int | str = "N",
    side: int | str = PX,
    opset: int = 13,
    baked_reshape: bool = False,
    uint8: bool = False,
    width: int | str | None = None,
    names: tuple[str, str] = ("image", "scores"),
) -> onnx.ModelProto:
    """Convolution, global pool, dense layer, and an ending; as exporters write them."""
    image, scores = names
    sides = (side, side if width is None else width)
    shape = (batch, 3, *sides) if layout == "nchw" else (batch, *sides, 3)
    nodes, start = [], image
    if uint8:
        nodes.append(helper.make_node("Cast", [start], ["as_float"], to=FLOAT))
        nodes.append(helper.make_node("Mul", ["as_float", "scale"], ["scaled"]))
        start = "scaled"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [start], ["nchw"], perm=[0, 3, 1, 2]))
        start = "nchw"
    nodes += [
        helper.make_node("Conv", [start, "w1"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["f"])
        if baked_reshape
        else helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["z" if ending else scores]),
    ]
    if ending:
        nodes.append(helper.make_node(ending, ["z"], [scores]))
    return network(
        nodes,
        [value(image, TensorProto.UINT8 if uint8 else FLOAT, *shape)],
        [value(scores, FLOAT, batch, columns)],
        [
            weight("w1", 8, 3, 3, 3),
            weight("w2", 8, columns, seed=1),
            weight("b2", columns, seed=2),
            *([constant("shape", [1, 8])] if baked_reshape else []),
            *([constant("scale", 1 / 64, np.float32)] if uint8 else []),
        ],
        opset,
    )


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path
