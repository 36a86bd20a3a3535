"""Coverage is counted in the graph that really runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimize.kernels import Coverage, fallbacks, kernels, optimised, quantisable_kernels
from optimize.quantize import QdqStyle, quantize
from optimize.targets.target import Inputs
from runtime.contracts.errors import Unsupported
from tests.optimize.targets.engine_networks import photo_network, write_inputs


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(photo_network(), tmp_path_factory.mktemp("small"), rows=16)


def int8(inputs: Inputs, path: Path, *excluded: str) -> Path:
    assert inputs.ranges is not None
    onnx.save(quantize(inputs.network, inputs.ranges, QdqStyle(activation="uint8"), "minmax", excluded), path)
    return path


def test_a_float_network_has_float_kernels_only(small: Inputs) -> None:
    assert kernels(small.network) == Coverage(integer=0, floating=4)


def test_a_quantised_network_has_integer_kernels_only(small: Inputs, tmp_path: Path) -> None:
    found = kernels(int8(small, tmp_path / "int8.onnx"))
    assert found == Coverage(integer=4, floating=0)
    assert found.share == 1.0


def test_what_stays_in_float_on_purpose_is_not_held_against_it(small: Inputs, tmp_path: Path) -> None:
    path = int8(small, tmp_path / "mixed.onnx", "depth", "point")
    assert kernels(path) == Coverage(integer=2, floating=2)
    assert kernels(path).share == 0.5
    assert kernels(path, kept=2) == Coverage(integer=2, floating=2, excluded=2)
    assert kernels(path, kept=2).share == 1.0
    assert kernels(path, kept=1).share == pytest.approx(2 / 3)


def test_more_cannot_stay_in_float_on_purpose_than_is_in_float(small: Inputs, tmp_path: Path) -> None:
    assert kernels(int8(small, tmp_path / "int8.onnx"), kept=9) == Coverage(integer=4, floating=0, excluded=0)


def test_nothing_to_run_in_integers_is_no_coverage() -> None:
    assert Coverage(integer=0, floating=0).share == 0.0
    assert Coverage(integer=0, floating=3, excluded=3).share == 0.0


def test_a_file_that_only_looks_quantised_is_found_out(small: Inputs, tmp_path: Path) -> None:
    """Q/DQ around an activation alone fuses nothing: the file is full of it, and every kernel is float."""
    model = onnx.load(small.network)
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(0.02), "s"), numpy_helper.from_array(np.uint8(0), "z")]
    )
    node = next(node for node in model.graph.node if node.name == "depth")
    place = list(model.graph.node).index(node)
    model.graph.node.insert(place, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"], name="dq"))
    model.graph.node.insert(place, helper.make_node("QuantizeLinear", [node.input[0], "s", "z"], ["q"], name="q"))
    next(node for node in model.graph.node if node.name == "depth").input[0] = "dq"
    onnx.save(model, tmp_path / "looks.onnx")
    assert kernels(tmp_path / "looks.onnx") == Coverage(integer=0, floating=4)


def test_kernels_inside_branches_are_counted(tmp_path: Path) -> None:
    def branch(name: str) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.random.default_rng(len(name)).random((4, 4), np.float32), f"{name}_w")],
        )

    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch("then"), else_branch=branch("else_"))],
        "branches",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "n.onnx")
    assert kernels(tmp_path / "n.onnx") == Coverage(integer=0, floating=2)


def test_only_nodes_with_kernels_of_their_own_count_as_kept(small: Inputs) -> None:
    assert quantisable_kernels(small.network, ("depth", "head", "stem_relu", "nobody")) == 2


def test_the_graph_of_extended_optimisation_keeps_its_layout(small: Inputs, tmp_path: Path) -> None:
    path = int8(small, tmp_path / "int8.onnx")
    kinds = [node.op_type for node in optimised(path, layout=False).graph.node]
    assert kinds.count("QLinearConv") == 3
    assert "QuantizeLinear" in kinds


def test_a_file_that_the_engine_refuses_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(Unsupported, match=r"^network bad\.onnx: ONNX Runtime refuses it: ") as refused:
        kernels(tmp_path / "bad.onnx")
    assert "\n" not in str(refused.value)


def test_every_node_of_a_network_runs_on_the_cpu(small: Inputs) -> None:
    assert fallbacks(small.network, "CPUExecutionProvider") == []


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_is_not_there_is_told_and_not_replaced_silently(small: Inputs) -> None:
    (words,) = fallbacks(small.network, "CUDAExecutionProvider")
    assert words.startswith("fallback: ")
    assert "CUDAExecutionProvider" in words
    assert "\n" not in words


def test_a_network_that_the_provider_does_not_take_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    (words,) = fallbacks(tmp_path / "bad.onnx", "CPUExecutionProvider")
    assert words.startswith("fallback: CPUExecutionProvider does not take the whole network: ")
