"""Small networks of photos, for tests of engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from optimize.calibrate import collect_ranges
from optimize.quantize import prepare_network
from optimize.samples import write_samples
from optimize.targets.target import Inputs

PX = 32
CLASSES = 4


def photo_network(seed: int = 0) -> onnx.ModelProto:
    """``photo`` uint8 (N, 32, 32, 3) to ``features`` (N, 16) and ``logits`` (N, 4): a block of MobileNet and a head."""
    draw = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        return numpy_helper.from_array((draw.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32), name)

    weights = [
        weight("stem_w", 16, 3, 3, 3),
        weight("stem_b", 16),
        weight("depth_w", 16, 1, 3, 3),
        weight("depth_b", 16),
        weight("point_w", 16, 16, 1, 1),
        weight("point_b", 16),
        weight("head_w", CLASSES, 16),
        weight("head_b", CLASSES),
        numpy_helper.from_array(np.float32(127), "mean"),
        numpy_helper.from_array(np.float32(128), "std"),
    ]
    nodes = [
        helper.make_node("Transpose", ["photo"], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["float"], name="float", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "mean"], ["centred"], name="centred"),
        helper.make_node("Div", ["centred", "std"], ["scaled"], name="scaled"),
        helper.make_node(
            "Conv", ["scaled", "stem_w", "stem_b"], ["stem"], name="stem", strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["stem"], ["stem_relu"], name="stem_relu"),
        helper.make_node(
            "Conv", ["stem_relu", "depth_w", "depth_b"], ["depth"], name="depth", group=16, pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["depth"], ["depth_relu"], name="depth_relu"),
        helper.make_node("Conv", ["depth_relu", "point_w", "point_b"], ["point"], name="point"),
        helper.make_node("Relu", ["point"], ["point_relu"], name="point_relu"),
        helper.make_node("GlobalAveragePool", ["point_relu"], ["pooled"], name="pooled"),
        helper.make_node("Flatten", ["pooled"], ["features"], name="features"),
        helper.make_node("Gemm", ["features", "head_w", "head_b"], ["logits"], name="head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "photos",
        [helper.make_tensor_value_info("photo", TensorProto.UINT8, ["N", PX, PX, 3])],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 16]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES]),
        ],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def photos(count: int, seed: int = 0, px: int = PX) -> npt.NDArray[np.uint8]:
    """Smooth random photos, ``uint8 (count, px, px, 3)``."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.asarray(coarse.repeat(px // 8, axis=1).repeat(px // 8, axis=2), np.uint8)


def write_inputs(model: onnx.ModelProto, folder: Path, rows: int = 32, px: int = PX) -> Inputs:
    """Prepare a network, and calibrate it on so many photos."""
    network = folder / "network.onnx"
    onnx.save(prepare_network(model), network)
    feeds = [{"photo": photos(8, seed, px)} for seed in range(rows // 8)]
    samples = write_samples(folder / "samples", feeds)
    collect_ranges(network, samples, folder / "ranges.npz")
    return Inputs(network=network, ranges=folder / "ranges.npz", samples=samples)


def decibels(expected: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> float:
    """Return the signal to noise ratio."""
    return float(10 * np.log10(np.sum(expected**2) / max(float(np.sum((expected - got) ** 2)), 1e-30)))
