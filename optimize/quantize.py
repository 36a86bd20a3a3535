"""Float ONNX to INT8 QDQ, one style a family of engines. The same inputs give the same bytes.

ONNX Runtime's quantiser places the Q/DQ pairs; ranges come from ``optimize.calibrate``, whose memory is bounded.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from optimize.bias_correction import LEVELS, REDUCED_LEVELS, correct_biases
from optimize.calibrate import read_ranges, symmetric
from optimize.targets.target import Calibration, Inputs, Plan
from runtime.contracts.errors import Unsupported

QUANTISABLE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose integer kernels are what makes INT8 fast; a plan excludes nodes of these kinds."""

_OPSET = 21  # the newest whose Q/DQ every engine here reads


@dataclass(frozen=True, slots=True, kw_only=True)
class QdqStyle:
    """How Q/DQ pairs must look for a family of engines to run integers; weights are INT8 per channel in all.

    Attributes:
        activation: ``uint8`` for x86, ``int8`` for ARM and GPUs.
        reduce_range: 7-bit weights, for x86 without VNNI, whose 16-bit sums saturate.
        for_tensorrt: symmetric activations, a pair of its own for every consumer and weight, float biases.
    """

    activation: Literal["uint8", "int8"]
    reduce_range: bool = False
    for_tensorrt: bool = False


def prepare_network(source: onnx.ModelProto) -> onnx.ModelProto:
    """Bring a float network to the form that every target starts from: folded, shapes known, every node named.

    Where the optimiser refuses a network, it stays as it is but for shapes and names.
    """
    with tempfile.TemporaryDirectory() as name:
        path, ready = Path(name) / "source.onnx", Path(name) / "ready.onnx"
        onnx.save(source, path)
        try:
            quant_pre_process(path, ready, skip_symbolic_shape=True)
            model = onnx.load(ready)
        except Exception:  # noqa: BLE001 - it is an optimisation; its failures share no base
            model = onnx.shape_inference.infer_shapes(source)
    taken = {node.name for node in model.graph.node}
    for number, node in enumerate(model.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{number}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)
    return model


def quantisable(model: onnx.ModelProto, keep_float: Sequence[str] = ()) -> list[str]:
    """Return the names of the nodes that INT8 is about, in graph order: those with constant weights."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in QUANTISABLE and node.name not in keep_float and any(i in constants for i in node.input)
    ]


def quantize(
    network: Path, ranges: Path, style: QdqStyle, calibration: Calibration, excluded: Sequence[str]
) -> onnx.ModelProto:
    """Quantise a prepared network.

    Args:
        network: from ``prepare_network``.
        ranges: from ``collect_ranges`` on the same network.
        style: of the engine family.
        calibration: which ranges to take.
        excluded: names of nodes that stay in float.

    Raises:
        Unsupported: the quantiser refuses the network.
    """
    measured = read_ranges(ranges)
    levels = REDUCED_LEVELS if style.reduce_range else LEVELS
    model = _raised(correct_biases(onnx.load(network), measured.means, levels, excluded))
    clipped = measured.clipped(calibration)
    if style.for_tensorrt:
        clipped = symmetric(clipped)
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in clipped.items()}
    silent = logging.getLogger()
    level = silent.level
    silent.setLevel(logging.ERROR)  # the quantiser advises on the root logger
    try:
        quantizer = QDQQuantizer(
            model,
            True,
            style.reduce_range,
            QuantType.QInt8,
            QuantType.QUInt8 if style.activation == "uint8" else QuantType.QInt8,
            TensorsData(CalibrationMethod.MinMax, {n: (np.array(a), np.array(b)) for n, (a, b) in data.items()}),
            [],
            list(excluded),
            sorted({*QLinearOpsRegistry, *QDQRegistry}),
            _extra_options(style),
        )
        quantizer.quantize_model()
    except Exception as error:  # its failures share no base
        raise Unsupported(
            f"INT8: ONNX Runtime's quantiser refuses this network: {' '.join(str(error).split())[:300]}"
        ) from error
    finally:
        silent.setLevel(level)
    quantised: onnx.ModelProto = quantizer.model.model
    if not style.for_tensorrt:
        _hold_in_float(quantised, excluded)
    return quantised


def quantize_plan(inputs: Inputs, plan: Plan, style: QdqStyle) -> onnx.ModelProto:
    """Quantise as a plan says; what is never quantised and what the plan excludes stays in float.

    Raises:
        Unsupported: the quantiser refuses the network.
        ValueError: the plan has no calibration, or the inputs no ranges.
    """
    if inputs.ranges is None or plan.calibration is None:
        raise ValueError(f"{plan.slot}: INT8 needs calibration and its ranges")
    return quantize(inputs.network, inputs.ranges, style, plan.calibration, (*inputs.keep_float, *plan.excluded))


def _extra_options(style: QdqStyle) -> dict[str, Any]:
    if not style.for_tensorrt:
        return {}
    return {"ActivationSymmetric": True, "AddQDQPairToWeight": True, "DedicatedQDQPair": True, "QuantizeBias": False}


def _hold_in_float(model: onnx.ModelProto, excluded: Sequence[str]) -> None:
    """Read excluded convolutions' inputs through the same scale once a channel.

    Between two Q/DQ pairs ONNX Runtime's WeightBiasQuantization would quantise their weights when it loads the file,
    with one scale for all channels, which is worse than no exclusion; it takes only inputs with one scale.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    ordered = []
    for node in model.graph.node:
        pair = producers.get(node.input[0]) if node.input else None
        if node.name in excluded and pair is not None and pair.op_type == "DequantizeLinear":
            channels = _input_channels(node, constants)
            if channels:
                held = f"{node.name}:held"
                names = [f"{held}:scale", f"{held}:zero_point"]
                for name, old in zip(names, pair.input[1:], strict=True):
                    values = np.full(channels, numpy_helper.to_array(constants[old]))
                    model.graph.initializer.append(numpy_helper.from_array(values, name))
                ordered.append(helper.make_node("DequantizeLinear", [pair.input[0], *names], [held], name=held, axis=1))
                node.input[0] = held
        ordered.append(node)
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _input_channels(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> int:
    """Return the length of axis 1 of a product's input; 0 where it is none of those, or its weight no constant."""
    shape = constants[node.input[1]].dims if len(node.input) > 1 and node.input[1] in constants else ()
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if not shape or node.op_type not in ("Conv", "ConvTranspose", "Gemm"):
        return 0
    if node.op_type == "Conv":
        return int(shape[1]) * int(attributes.get("group", 1))
    return int(shape[1] if node.op_type == "Gemm" and attributes.get("transB") else shape[0])


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Raise an opset below 13, where Q/DQ had no axis."""
    version = next((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), 0)
    if version >= 13:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except Exception as error:  # its failures share no base
        why = " ".join(str(error).split())[:200]
        raise Unsupported(f"INT8: opset {version} has no per-channel Q/DQ and cannot be converted ({why})") from error
