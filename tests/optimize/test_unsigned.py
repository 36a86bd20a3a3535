"""The twin is the same network, number for number, only unsigned."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimize.unsigned import to_unsigned


def network(activation: type[np.generic]) -> onnx.ModelProto:
    """``x (N, 8) -> y (N, 5)``: one Gemm with Q/DQ, signed weights per channel."""
    rng = np.random.default_rng(7)
    zero = {np.int8: -3, np.uint8: 125}[activation]  # type: ignore[index]
    constants = {
        "weight": rng.integers(-127, 128, (8, 5), dtype=np.int8),
        "weight_scale": rng.uniform(0.001, 0.01, 5).astype(np.float32),
        "weight_zero": np.zeros(5, np.int8),
        "scale": np.array(0.05, np.float32),
        "zero": np.array(zero, activation),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["w"], axis=1),
        helper.make_node("MatMul", ["xd", "w"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n]) for name, n in (("x", 8), ("y", 5))]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(activation))
    inner = [helper.make_tensor_value_info("xq", kind, ["N", 8])]
    values = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "one", ends[:1], ends[1:], values, value_info=inner)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run_unoptimised(model: onnx.ModelProto) -> np.ndarray:
    """Run the Q/DQ pairs in float, as they are written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = np.random.default_rng(8).normal(0, 3, (16, 8)).astype(np.float32)  # some of it beyond the range
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("activation", [np.int8, np.uint8])
def test_the_twin_gives_the_same_numbers_and_has_no_signed_tensor(activation: type[np.generic]) -> None:
    signed = network(activation)
    before = signed.SerializeToString()
    twin = to_unsigned(signed)
    onnx.checker.check_model(twin, full_check=True)
    np.testing.assert_array_equal(run_unoptimised(twin), run_unoptimised(signed))
    assert {t.data_type for t in twin.graph.initializer} == {TensorProto.UINT8, TensorProto.FLOAT}
    assert signed.SerializeToString() == before
