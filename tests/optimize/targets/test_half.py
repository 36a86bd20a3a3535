"""FP16 inside, the same types outside, and the same answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimize.half import to_half
from optimize.onnx_bytes import onnx_digest
from optimize.targets.target import Inputs
from runtime.contracts.errors import Unsupported
from tests.optimize.targets.engine_networks import decibels, photo_network, photos

REPOSITORY = Path(__file__).parents[3]


def run(model: onnx.ModelProto, name: str, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {name: values}))


def one_product(weight: npt.NDArray[np.float32]) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "heavy"], ["y"], name="product")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weight.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", weight.shape[1]])],
        [numpy_helper.from_array(weight, "heavy")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_weights_are_half_the_size_and_callers_see_the_same_types() -> None:
    model, half = photo_network(), to_half(photo_network())
    assert {tensor.data_type for tensor in half.graph.initializer} == {TensorProto.FLOAT16}
    for one, other in zip(
        (*model.graph.input, *model.graph.output), (*half.graph.input, *half.graph.output), strict=True
    ):
        assert (one.name, one.type) == (other.name, other.type)


def test_it_runs_and_agrees_with_float_but_is_not_float() -> None:
    model, half = photo_network(), to_half(photo_network())
    float_session, half_session = (
        ort.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]) for one in (model, half)
    )
    for expected, got in zip(
        float_session.run(None, {"photo": photos(4)}), half_session.run(None, {"photo": photos(4)}), strict=True
    ):
        assert got.dtype == np.float32
        assert 40 < decibels(expected, got) < 100


def test_float_inputs_stay_float() -> None:
    half = to_half(one_product(np.eye(3, dtype=np.float32)))
    (output,) = run(half, "x", np.array([[1, 2, 3]], np.float32))
    np.testing.assert_array_equal(output, [[1, 2, 3]])


def test_a_kept_node_keeps_its_weights_in_float() -> None:
    half = to_half(photo_network(), keep_float=["head"])
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds["head_w"] == TensorProto.FLOAT
    assert kinds["stem_w"] == TensorProto.FLOAT16
    ort.InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_weight_beyond_half_precision_is_refused_by_name_unless_it_is_kept() -> None:
    model = one_product(np.array([[1.0, 70_000.0]], np.float32))
    with pytest.raises(Unsupported, match=r"'heavy' has values up to 7e\+04, and FP16 ends at 65504"):
        to_half(model)
    (output,) = run(to_half(model, keep_float=["product"]), "x", np.ones((1, 1), np.float32))
    assert output[0, 1] == 70_000.0


def test_a_weight_that_is_not_a_number_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="'heavy' holds NaN"):
        to_half(one_product(np.array([[np.nan]], np.float32)))


def test_a_single_bound_beyond_half_precision_is_clamped() -> None:
    graph = helper.make_graph(
        [helper.make_node("Clip", ["x", "low"], ["y"], name="clip")],
        "clip",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.float32(-3.4e38), "low")],
    )
    half = to_half(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    (output,) = run(half, "x", np.array([-2, 5], np.float32))
    np.testing.assert_array_equal(output, [-2, 5])


def test_the_model_given_is_left_as_it_is() -> None:
    model = photo_network()
    before = onnx_digest(model)
    to_half(model)
    assert onnx_digest(model) == before


def test_the_same_network_gives_the_same_bytes_in_another_process() -> None:
    script = (
        "from optimize.half import to_half\nfrom optimize.onnx_bytes import onnx_digest\n"
        "from tests.optimize.targets.engine_networks import photo_network\nprint(onnx_digest(to_half(photo_network())))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == onnx_digest(to_half(photo_network()))


def test_every_node_follows_those_that_it_reads_also_through_a_subgraph() -> None:
    inner = helper.make_graph(
        [helper.make_node("Mul", ["doubled", "doubled"], ["squared"], name="squared")],
        "then",
        [],
        [helper.make_tensor_value_info("squared", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["doubled"], ["same"], name="same")],
        "else",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "x"], ["doubled"], name="doubled"),
            helper.make_node("If", ["which"], ["y"], name="if", then_branch=inner, else_branch=other),
        ],
        "branches",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("which", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )
    half = to_half(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    session = ort.InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"x": np.array([3], np.float32), "which": np.array(True)})
    np.testing.assert_array_equal(output, [36])


def test_what_stays_in_float_reads_and_writes_float() -> None:
    half = to_half(photo_network(), keep_float=["pooled", "features", "head"])
    assert sum(node.op_type == "Cast" for node in half.graph.node) == 2  # into FP16 with the photo, and out of it once


def test_the_backbone_agrees_with_float(backbone: Inputs) -> None:
    model = onnx.load(backbone.network)
    batch = photos(2, px=224)
    (expected,) = run(model, "photo", batch)
    (got,) = run(to_half(model), "photo", batch)
    assert decibels(expected, got) > 35
