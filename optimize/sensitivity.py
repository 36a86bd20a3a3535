"""Which layer hurts: signal to quantisation noise after every integer kernel of the optimised graph.

Noise adds up on its way, so what counts is what a layer *adds*: noise over signal at its output, less that at its
input. Nodes that add most are the first to be left in float.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from optimize.evidence import LayerSensitivity
from optimize.kernels import optimised
from optimize.quantize import QUANTISABLE
from optimize.samples import Samples

FEEDS = 2

_QUANTISED = "_QuantizeLinear_Output"
_INTEGER_OUTPUT = {"QLinearConv": (6, 7), "QLinearMatMul": (6, 7), "QGemm": (7, 8)}
"""Operator to the places of its output's scale and zero point among its inputs."""

_THROUGH = ("Clip", "Relu", "LeakyRelu", "Sigmoid", "HardSwish", "Identity", "Add", "BatchNormalization", "Reshape")
_EXACT_DB = 99.0


def sensitivity(network: Path, quantised: Path, samples: Samples) -> list[LayerSensitivity]:
    """Compare the two networks layer by layer, most harmful first.

    Args:
        network: the prepared float network.
        quantised: QDQ made from it with nothing excluded.
        samples: of which the first two feeds are run.
    """
    float_model, integer_model = onnx.load(network), optimised(quantised, layout=False)
    probes = _probes(float_model, integer_model)
    if not probes:
        return []
    noise = _noise(float_model, integer_model, probes, samples)
    before = _sqnr_before(float_model, probes, noise)
    found = [
        LayerSensitivity(node=node, sqnr_db=noise[tensor], added_noise=_ratio(noise[tensor]) - _ratio(before[node]))
        for node, tensor in ((_owner(float_model, tensor), tensor) for tensor in probes)
        if node is not None
    ]
    return sorted(found, key=lambda layer: (-layer.added_noise, layer.node))


def _probes(float_model: onnx.ModelProto, integer_model: onnx.ModelProto) -> dict[str, tuple[str, float, int]]:
    """Map float tensors to the integer tensors that stand for them, with scale and zero point."""
    constants = {tensor.name: tensor for tensor in integer_model.graph.initializer}
    known = {name for node in float_model.graph.node for name in node.output}
    found: dict[str, tuple[str, float, int]] = {}
    for node in integer_model.graph.node:
        places = _INTEGER_OUTPUT.get(node.op_type)
        tensor = node.output[0].removesuffix(_QUANTISED)
        if places is None or tensor not in known or len(node.input) <= places[0]:
            continue
        scale = constants.get(node.input[places[0]])
        zero = constants.get(node.input[places[1]]) if len(node.input) > places[1] else None
        if scale is not None:
            point = int(numpy_helper.to_array(zero).ravel()[0]) if zero is not None else 0
            found[tensor] = (node.output[0], float(numpy_helper.to_array(scale).ravel()[0]), point)
    return found


def _noise(
    float_model: onnx.ModelProto,
    integer_model: onnx.ModelProto,
    probes: Mapping[str, tuple[str, float, int]],
    samples: Samples,
) -> dict[str, float]:
    tensors = list(probes)
    one = _exposed(float_model, tensors, dict.fromkeys(tensors, TensorProto.FLOAT), optimise=True)
    integers = [probes[name][0] for name in tensors]
    kinds = {value.name: value.type.tensor_type.elem_type for value in integer_model.graph.value_info}
    other = _exposed(integer_model, integers, {n: kinds.get(n, TensorProto.UINT8) for n in integers}, optimise=False)
    signal, error = np.zeros(len(tensors)), np.zeros(len(tensors))
    for feed in samples.read(FEEDS):
        pairs = zip(one.run(tensors, feed), other.run(integers, feed), strict=True)
        for place, (real, integer) in enumerate(pairs):
            _, scale, zero = probes[tensors[place]]
            difference = real - (integer.astype(np.float32) - zero) * np.float32(scale)
            signal[place] += float(np.square(real, dtype=np.float64).sum())
            error[place] += float(np.square(difference, dtype=np.float64).sum())
    return {name: _db(s, e) for name, s, e in zip(tensors, signal.tolist(), error.tolist(), strict=True)}


def _exposed(
    model: onnx.ModelProto, outputs: list[str], kinds: Mapping[str, int], *, optimise: bool
) -> ort.InferenceSession:
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    for name in outputs:
        probed.graph.output.append(helper.make_tensor_value_info(name, kinds[name], None))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimise:  # it is optimised already, and must stay as it is
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _owner(model: onnx.ModelProto, tensor: str) -> str | None:
    """Return the quantisable node that computes a tensor, looking through activations."""
    producer = {name: node for node in model.graph.node for name in node.output}
    for _ in range(4):
        node = producer.get(tensor)
        if node is None:
            return None
        if node.op_type in QUANTISABLE:
            return str(node.name)
        if node.op_type not in _THROUGH or not node.input:
            return None
        tensor = node.input[0]
    return None


def _sqnr_before(model: onnx.ModelProto, probes: Mapping[str, object], noise: Mapping[str, float]) -> dict[str, float]:
    """Return the SQNR of every quantisable node's input: that of the nearest probed tensor upstream."""
    producer = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type in QUANTISABLE:
            found[str(node.name)] = _upstream(node.input[0], producer, noise)
    return found


def _upstream(tensor: str, producer: Mapping[str, onnx.NodeProto], noise: Mapping[str, float]) -> float:
    for _ in range(64):
        if tensor in noise:
            return noise[tensor]
        node = producer.get(tensor)
        if node is None or not node.input:
            return _EXACT_DB
        tensor = node.input[0]
    return _EXACT_DB


def _db(signal: float, error: float) -> float:
    return min(10 * math.log10(max(signal, 1e-30) / max(error, 1e-30)), _EXACT_DB)


def _ratio(sqnr_db: float) -> float:
    return float(10 ** (-sqnr_db / 10))
