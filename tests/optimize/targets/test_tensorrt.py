"""TensorRT-RTX engines are really built here, without a GPU; what no GPU ran is called unverified."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimize.onnx_bytes import save_onnx
from optimize.targets import tensorrt, tensorrt_rtx, torch_tensorrt
from optimize.targets.target import Compiled, Inputs, Plan
from optimize.targets.tensorrt_graph import cast_first
from runtime.backends.cuda import gpu_missing
from runtime.backends.tensorrt import build_engine
from runtime.contracts.errors import Unsupported
from runtime.engine import load_network
from tests.optimize.targets.engine_networks import decibels, photo_network, photos, write_inputs

FP16, INT8 = tensorrt_rtx.SLOTS

no_gpu = pytest.mark.skipif(gpu_missing() is None, reason="this machine has a GPU; this is about machines without")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    pytest.importorskip("tensorrt_rtx")
    return write_inputs(photo_network(), tmp_path_factory.mktemp("inputs"))


def compiled(inputs: Inputs, folder: Path, slot: str = FP16.name, excluded: tuple[str, ...] = ()) -> Compiled:
    folder.mkdir(exist_ok=True)
    calibration = "minmax" if slot == INT8.name else None
    one = next(one for one in tensorrt_rtx.SLOTS if one.name == slot)
    return tensorrt_rtx.compile(one, Plan(slot=slot, calibration=calibration, excluded=excluded), inputs, folder)


def scores(file: Path) -> npt.NDArray[np.float32]:
    return load_network("onnxruntime", file, 1).run(photos(8, seed=99))


@pytest.mark.parametrize(("slot", "at_least_db"), [(FP16, 40.0), (INT8, 20.0)])
def test_an_engine_is_built_and_its_onnx_agrees_with_float(
    inputs: Inputs, tmp_path: Path, slot: object, at_least_db: float
) -> None:
    assert slot in tensorrt_rtx.SLOTS
    one = FP16 if slot == FP16 else INT8
    found = compiled(inputs, tmp_path, one.name)
    assert found.file.suffix == ".engine"
    assert found.file.stat().st_size > 1000
    assert tensorrt_rtx.check(one, found, inputs) == []
    assert found.companions == ()  # the ONNX is for judging here; it does not ship
    assert found.judged_engine == "onnxruntime"
    assert decibels(scores(inputs.network), scores(found.judged_file)) > at_least_db


def test_nothing_of_the_library_reaches_the_terminal(
    inputs: Inputs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    compiled(inputs, tmp_path, INT8.name)
    assert capfd.readouterr() == ("", "")


def test_the_judged_onnx_is_the_same_from_run_to_run(inputs: Inputs, tmp_path: Path) -> None:
    for slot in (FP16.name, INT8.name):
        files = [compiled(inputs, tmp_path / f"{slot}{run}", slot).judged_file for run in range(2)]
        assert len({hashlib.sha256(file.read_bytes()).digest() for file in files}) == 1


def test_int8_stores_smaller_weights_than_fp16_and_an_excluded_node_stays_out(inputs: Inputs, tmp_path: Path) -> None:
    whole = compiled(inputs, tmp_path / "whole", INT8.name)
    without = compiled(inputs, tmp_path / "without", INT8.name, excluded=("depth",))
    pairs = [
        sum(node.op_type == "DequantizeLinear" for node in onnx.load(one.judged_file).graph.node)
        for one in (whole, without)
    ]
    assert pairs[0] > pairs[1] > 0


@no_gpu
def test_without_a_gpu_only_int8_cannot_be_judged() -> None:
    assert tensorrt_rtx.unavailable(FP16) is None
    assert "no NVIDIA GPU" in str(tensorrt_rtx.unavailable(INT8))
    assert {slot.execution for slot in (*tensorrt_rtx.SLOTS, *tensorrt.SLOTS)} == {"unverified"}


def test_an_engine_that_is_none_is_refused_by_the_check(inputs: Inputs, tmp_path: Path) -> None:
    found = compiled(inputs, tmp_path)
    found.file.write_bytes(b"torn" * 1000)
    (reason,) = tensorrt_rtx.check(FP16, found, inputs)
    assert "no engine of tensorrt_rtx" in reason


def test_a_node_that_the_parser_does_not_know_is_named() -> None:
    library = pytest.importorskip("tensorrt_rtx")
    graph = helper.make_graph(
        [helper.make_node("StringNormalizer", ["x"], ["y"], name="loud", case_change_action="UPPER")],
        "strings",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [2])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(Unsupported, match=r"strings.*does not take it") as refused:
        build_engine(library, model.SerializeToString(), "strings")
    assert "\n" not in str(refused.value)


def test_a_transpose_of_bytes_is_refused_by_name_and_casting_first_avoids_it() -> None:
    library = pytest.importorskip("tensorrt_rtx")
    model = photo_network()
    with pytest.raises(Unsupported, match=r"node 'planes' \(Transpose\): .*UInt8"):
        build_engine(library, model.SerializeToString(), "photos")
    assert build_engine(library, cast_first(model).SerializeToString(), "photos")


def test_casting_first_changes_no_value() -> None:
    model, batch = photo_network(), photos(3)
    expected, got = (
        ort.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"photo": batch})
        for one in (model, cast_first(model))
    )
    np.testing.assert_array_equal(expected[1], got[1])


def test_a_free_dimension_beyond_the_batch_is_refused_in_words() -> None:
    library = pytest.importorskip("tensorrt_rtx")
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "free",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "width"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(Unsupported, match="only the batch may be dynamic"):
        build_engine(library, model.SerializeToString(), "free")


def test_a_network_that_does_not_fit_into_fp16_is_refused_before_it_is_built(inputs: Inputs, tmp_path: Path) -> None:
    model = photo_network()
    heavy = next(tensor for tensor in model.graph.initializer if tensor.name == "head_w")
    heavy.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(heavy) * np.float32(1e6), "head_w"))
    save_onnx(model, tmp_path / "heavy.onnx")
    with pytest.raises(Unsupported, match="FP16: tensor 'head_w'"):
        compiled(Inputs(network=tmp_path / "heavy.onnx", ranges=None, samples=inputs.samples), tmp_path / "out")


def test_full_tensorrt_ships_an_fp16_onnx_that_agrees_with_float(inputs: Inputs, tmp_path: Path) -> None:
    tensorrt.require()
    (slot,) = tensorrt.SLOTS
    found = tensorrt.compile(slot, Plan(slot=slot.name), inputs, tmp_path)
    assert found.file == found.judged_file == tmp_path / "tensorrt-fp16.onnx"
    assert tensorrt.check(slot, found, inputs) == []
    assert 40 < decibels(scores(inputs.network), scores(found.file)) < 100


@no_gpu
def test_torch_tensorrt_without_a_gpu_is_refused_in_words() -> None:
    with pytest.raises(Unsupported, match="Torch-TensorRT: no NVIDIA GPU"):
        torch_tensorrt.compile_module(object(), object())


def test_the_backbone_builds_in_both_precisions_and_int8_is_judged_without_saturation(
    backbone: Inputs, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    (feed,) = backbone.samples.read(1)
    photo = np.asarray(feed["photo"], np.uint8)
    expected = load_network("onnxruntime", backbone.network, 0).run(photo)
    for slot, at_least_db in ((FP16.name, 40.0), (INT8.name, 12.0)):
        found = compiled(backbone, tmp_path / slot, slot)
        assert decibels(expected, load_network("onnxruntime", found.judged_file, 0).run(photo)) > at_least_db
