"""Networks that are no classifiers of photos: every type, rank and control flow, judged on the user's own inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from optimize.sources.imported import SourceOptions
from optimize.sources.run_onnx import open_session
from optimize.sources.source import import_source
from optimize.sources.user_samples import feeds_of
from runtime.contracts.errors import Unsupported
from tests.optimize.sources.small_networks import FLOAT, INT64, constant, network, save, value, weight

Arrays = dict[str, np.ndarray]
RANDOM = np.random.default_rng(5)


def int32_ids() -> tuple[onnx.ModelProto, Arrays]:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["y"], axes=[1]),
    ]
    model = network(
        nodes, [value("ids", TensorProto.INT32, "N", 6)], [value("y", FLOAT, "N", 1, 4)], [weight("table", 9, 4)], 13
    )
    return model, {"ids": RANDOM.integers(0, 9, (3, 6)).astype(np.int32)}


def float16() -> tuple[onnx.ModelProto, Arrays]:
    half = TensorProto.FLOAT16
    w = onnx.numpy_helper.from_array(RANDOM.normal(size=(4, 3)).astype(np.float16), "w")
    model = network(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", half, "N", 4)], [value("y", half, "N", 3)], [w]
    )
    return model, {"x": RANDOM.normal(size=(2, 4)).astype(np.float16)}


def scalar() -> tuple[onnx.ModelProto, Arrays]:
    model = network(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [value("x", FLOAT, "N", 4), value("factor", FLOAT)],
        [value("y", FLOAT, "N", 4)],
    )
    return model, {"x": RANDOM.normal(size=(2, 4)).astype(np.float32), "factor": np.array(3.0, np.float32)}


def several_inputs_and_outputs() -> tuple[onnx.ModelProto, Arrays]:
    model = network(
        [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("ArgMax", ["s"], ["i"], axis=1)],
        [value("a", FLOAT, "N", 4), value("b", FLOAT, "N", 4)],
        [value("s", FLOAT, "N", 4), value("i", INT64, "N", 1)],
    )
    return model, {name: RANDOM.normal(size=(3, 4)).astype(np.float32) for name in ("a", "b")}


def branch() -> tuple[onnx.ModelProto, Arrays]:
    sides = [
        helper.make_graph(
            [helper.make_node(operator, ["x"], [operator])], operator, [], [value(operator, FLOAT, None, 4)]
        )
        for operator in ("Relu", "Neg")
    ]
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=sides[0], else_branch=sides[1]),
    ]
    model = network(
        nodes, [value("x", FLOAT, "N", 4)], [value("y", FLOAT, None, 4)], [constant("zero", 0, np.float32)], 11
    )
    return model, {"x": RANDOM.normal(size=(4, 4)).astype(np.float32)}


def loop() -> tuple[onnx.ModelProto, Arrays]:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_out"]), helper.make_node("Add", ["acc", "x"], ["acc_out"])],
        "body",
        [value("i", INT64), value("go", TensorProto.BOOL), value("acc", FLOAT, None, 4)],
        [value("go_out", TensorProto.BOOL), value("acc_out", FLOAT, None, 4)],
    )
    nodes = [helper.make_node("Loop", ["times", "true", "x"], ["y"], body=body)]
    weights = [constant("times", 3), constant("true", True, np.bool_)]
    model = network(nodes, [value("x", FLOAT, "N", 4)], [value("y", FLOAT, None, 4)], weights, 11)
    return model, {"x": RANDOM.normal(size=(2, 4)).astype(np.float32)}


def lstm() -> tuple[onnx.ModelProto, Arrays]:
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=3)]
    weights = [weight("w", 1, 12, 4), weight("r", 1, 12, 3)]
    model = network(nodes, [value("x", FLOAT, 5, 1, 4)], [value("y", FLOAT, 1, 1, 3)], weights, 7, ir=3)
    model.graph.input.extend([value("w", FLOAT, 1, 12, 4), value("r", FLOAT, 1, 12, 3)])
    return model, {"x": RANDOM.normal(size=(2, 5, 1, 4)).astype(np.float32)}


def detector() -> tuple[onnx.ModelProto, Arrays]:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Greater", ["c", "zero"], ["hit"]),
        helper.make_node("NonZero", ["hit"], ["where"]),
    ]
    model = network(
        nodes,
        [value("x", FLOAT, 1, 3, 8, 8)],
        [value("where", INT64, 4, None), value("c", FLOAT, 1, 2, 6, 6)],
        [weight("w", 2, 3, 3, 3), constant("zero", 0, np.float32)],
    )
    return model, {"x": RANDOM.normal(size=(2, 3, 8, 8)).astype(np.float32)}


def with_local_functions() -> tuple[onnx.ModelProto, Arrays]:
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    model = network(
        [helper.make_node("Twice", ["x"], ["y"], domain="own")],
        [value("x", FLOAT, "N", 2)],
        [value("y", FLOAT, "N", 2)],
        domains=["own"],
    )
    model.functions.append(function)
    return model, {"x": RANDOM.normal(size=(2, 2)).astype(np.float32)}


MODELS = [
    int32_ids,
    float16,
    scalar,
    several_inputs_and_outputs,
    branch,
    loop,
    lstm,
    detector,
    with_local_functions,
]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_any_network_of_tensors_is_imported_and_equal_to_its_source(
    make: Callable[[], tuple[onnx.ModelProto, Arrays]], plain: SourceOptions, tmp_path: Path
) -> None:
    model, arrays = make()
    path = save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "s.npz", **arrays)
    imported = import_source(str(path), plain, [], tmp_path / "s.npz")
    assert imported.kind == "tensors"
    assert imported.parity.max_abs_error <= 1e-5
    given = [one.name for one in imported.network.graph.input]
    assert given == list(arrays)
    assert imported.network.ir_version == max(8, min(model.ir_version, 10))
    feed = next(feeds_of(tmp_path / "s.npz", imported.tensors))
    before = open_session(path, "original").run(feed)
    after = open_session(imported.network.SerializeToString(), "imported").run(feed)
    for one, other in zip(before, after, strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_a_network_of_tensors_without_samples_says_which_it_needs(plain: SourceOptions, tmp_path: Path) -> None:
    path = save(several_inputs_and_outputs()[0], tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match=r"give --samples, an .npz file.*a float32 \(any, 4\), b float32 \(any, 4\)"):
        import_source(str(path), plain, [], None)


def test_old_opsets_are_converted_where_that_agrees_and_said_so(plain: SourceOptions, tmp_path: Path) -> None:
    model, arrays = lstm()
    np.savez(tmp_path / "s.npz", **arrays)
    imported = import_source(str(save(model, tmp_path / "m.onnx")), plain, [], tmp_path / "s.npz")
    assert any("opset 7" in note for note in imported.notes)
    assert any("2 weights were listed as inputs" in note for note in imported.notes)


def test_an_operator_that_cannot_be_converted_keeps_its_opset(plain: SourceOptions, tmp_path: Path) -> None:
    statistics = [weight("scale", 3, 4), weight("bias", 3, 4), weight("mean", 3, 4)]
    variance = constant("variance", np.ones((3, 4)), np.float32)
    node = helper.make_node("BatchNormalization", ["x", "scale", "bias", "mean", "variance"], ["y"], spatial=0)
    model = network([node], [value("x", FLOAT, 2, 3, 4)], [value("y", FLOAT, 2, 3, 4)], [*statistics, variance], 7)
    np.savez(tmp_path / "s.npz", x=RANDOM.normal(size=(2, 3, 4)).astype(np.float32))
    imported = import_source(str(save(model, tmp_path / "m.onnx")), plain, [], tmp_path / "s.npz")
    assert imported.network.opset_import[0].version == 7
    assert any("kept at opset 7: it cannot be converted to 20" in note for note in imported.notes)
    assert imported.parity.max_abs_error == 0


def test_a_source_that_gives_nan_on_real_inputs_is_refused(plain: SourceOptions, tmp_path: Path) -> None:
    model = network([helper.make_node("Log", ["x"], ["y"])], [value("x", FLOAT, "N", 4)], [value("y", FLOAT, "N", 4)])
    np.savez(tmp_path / "s.npz", x=-np.ones((1, 4), np.float32))
    with pytest.raises(Unsupported, match="output 1 of the source is NaN"):
        import_source(str(save(model, tmp_path / "m.onnx")), plain, [], tmp_path / "s.npz")


def test_a_network_that_is_quantised_already_is_kept_and_said_so(plain: SourceOptions, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    weights = [constant("scale", 0.1, np.float32), constant("zero", 3, np.uint8)]
    model = network(nodes, [value("x", FLOAT, "N", 4)], [value("y", FLOAT, "N", 4)], weights, 13)
    np.savez(tmp_path / "s.npz", x=RANDOM.normal(size=(3, 4)).astype(np.float32))
    imported = import_source(str(save(model, tmp_path / "m.onnx")), plain, [], tmp_path / "s.npz")
    assert imported.already_quantised
    assert imported.network.opset_import[0].version == 13
    assert any("already quantised" in note for note in imported.notes)


def test_an_output_that_is_no_tensor_is_refused(plain: SourceOptions, tmp_path: Path) -> None:
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    model = network([node], [value("x", FLOAT, "N", 4)], [helper.make_value_info("y", kind)])
    with pytest.raises(Unsupported, match=r"output 'y' is seq.*expected a tensor of numbers"):
        import_source(str(save(model, tmp_path / "m.onnx")), plain, [], None)
