"""The work of a network, against what a pencil says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.latency.network_work import count


def test_operations_and_bytes_of_a_convolution_and_a_product(tmp_path: Path) -> None:
    kernel = numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32), "kernel")
    table = numpy_helper.from_array(np.ones((16 * 8 * 8, 5), np.float32), "table")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["seen"], pads=[1, 1, 1, 1]),
            helper.make_node("Flatten", ["seen"], ["flat"]),
            helper.make_node("MatMul", ["flat", "table"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [kernel, table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    operations, moved = count(tmp_path / "model.onnx")
    seen = 16 * 8 * 8  # channels of a whole block: ONNX Runtime fills them up
    assert operations == 2 * seen * 27 + 2 * 5 * seen
    assert moved >= 4 * (3 * 8 * 8 + 16 * 27 + 2 * seen + 5 * seen + 5)
