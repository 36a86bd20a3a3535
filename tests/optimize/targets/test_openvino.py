"""OpenVINO: what is named for a precision runs in it, INT8 is integers in the compiled network, and bytes repeat."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimize.samples import write_samples
from optimize.targets import openvino
from optimize.targets.target import Calibration, Compiled, Inputs, Plan
from runtime.backends.openvino import has_bf16
from runtime.contracts.errors import Unsupported
from runtime.engine import cpu_flags, load_network
from tests.optimize.targets.compiling import compiled, compiled_elsewhere, digests
from tests.optimize.targets.engine_networks import decibels, photo_network, photos, write_inputs

SLOTS = {slot.name: slot for slot in openvino.SLOTS}
INT8 = "openvino-int8-avx2"

Int8 = Callable[..., Compiled]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(photo_network(), tmp_path_factory.mktemp("inputs"))


def plan(slot: str, calibration: Calibration = "minmax", excluded: tuple[str, ...] = ()) -> Plan:
    return Plan(slot=slot, calibration=calibration if "int8" in slot else None, excluded=excluded)


def scores(file: Path, inputs: Inputs) -> npt.NDArray[np.float32]:
    engine = "openvino" if file.suffix == ".xml" else "onnxruntime"
    return load_network(engine, file, 1).run(photos(8, seed=99))


def test_float_is_float_and_agrees_with_onnx_runtime(inputs: Inputs, tmp_path: Path) -> None:
    found = compiled(openvino, plan(openvino.FLOAT), inputs, tmp_path / "out")
    assert found.companions == (found.file.with_suffix(".bin"),)
    assert openvino.check(SLOTS[openvino.FLOAT], found, inputs) == []
    assert openvino.kernels(found.file).integer == 0
    np.testing.assert_allclose(scores(found.file, inputs), scores(inputs.network, inputs), atol=1e-4)


@pytest.mark.parametrize("calibration", ["minmax", "percentile"])
def test_int8_runs_every_product_in_integers_and_agrees_with_float(
    inputs: Inputs, tmp_path: Path, calibration: Calibration
) -> None:
    found = compiled(openvino, plan(INT8, calibration), inputs, tmp_path / "out")
    assert openvino.check(SLOTS[INT8], found, inputs) == []
    covered = openvino.kernels(found.file)
    assert (covered.integer, covered.floating, covered.excluded) == (4, 0, 0)
    assert decibels(scores(inputs.network, inputs), scores(found.file, inputs)) > 15


def test_without_vnni_weights_take_half_the_range_but_those_of_depthwise_convolutions(
    inputs: Inputs, tmp_path: Path
) -> None:
    for slot, largest in ((INT8, 64), (openvino.INT8, 127)):
        found = compiled(openvino, plan(slot), inputs, tmp_path / slot)
        assert {max(one, 64) for one in largest_weights(found.file)} == {largest}


def largest_weights(file: Path) -> list[int]:
    """Return the largest INT8 weight of each product of an IR that is no depthwise convolution."""
    import openvino as library

    return [
        int(np.abs(one.data.astype(np.int16)).max())
        for one in library.Core().read_model(file).get_ordered_ops()
        if one.get_type_name() == "Constant" and one.get_element_type() == library.Type.i8 and one.data.ndim < 5
    ]


@pytest.mark.parametrize("name", ["stem", "depth", "point", "head"])
def test_an_excluded_node_and_no_other_stays_in_float_whatever_openvino_calls_it(
    inputs: Inputs, tmp_path: Path, name: str
) -> None:
    found = compiled(openvino, plan(INT8, excluded=(name,)), inputs, tmp_path / "out")
    covered = openvino.kernels(found.file)
    assert (covered.integer, covered.floating, covered.excluded) == (3, 1, 1)
    assert covered.share == 1.0
    assert openvino.check(SLOTS[INT8], found, inputs) == []


def test_heads_that_are_never_quantised_stay_in_float(inputs: Inputs, tmp_path: Path) -> None:
    kept = dataclasses.replace(inputs, keep_float=("head",))
    found = compiled(openvino, plan(INT8, excluded=("head", "stem")), kept, tmp_path / "out")
    covered = openvino.kernels(found.file)
    assert (covered.integer, covered.floating, covered.excluded) == (2, 2, 2)


def test_a_node_that_cannot_be_excluded_is_named(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="node 'nowhere'"):
        compiled(openvino, plan(INT8, excluded=("nowhere",)), inputs, tmp_path / "out")


def test_too_few_integer_kernels_are_refused_with_their_number(inputs: Inputs, tmp_path: Path) -> None:
    as_float = compiled(openvino, plan(openvino.FLOAT), inputs, tmp_path / "out")
    (reason,) = openvino.check(SLOTS[INT8], as_float, inputs)
    assert reason.startswith("coverage: 0 of 4 convolutions and matrix products run in integer kernels (0%)")


def test_bytes_are_the_same_in_this_process_again_and_in_another(inputs: Inputs, tmp_path: Path) -> None:
    for slot in (openvino.FLOAT, INT8):
        first, second = (compiled(openvino, plan(slot), inputs, tmp_path / f"{slot}{run}") for run in range(2))
        elsewhere = compiled_elsewhere("openvino", plan(slot), inputs, tmp_path / f"{slot}elsewhere", hash_seed=5)
        assert digests(first.file.parent) == digests(second.file.parent) == elsewhere
        assert str(tmp_path) not in first.file.read_text()


def test_nothing_is_printed(inputs: Inputs, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    compiled(openvino, plan(INT8), inputs, tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_at_most_three_hundred_rows_are_read_evenly_one_at_a_time(tmp_path: Path) -> None:
    feeds = [{"x": np.arange(i, i + 7, dtype=np.float32).reshape(7, 1)} for i in range(0, 700, 7)]
    rows = [float(feed["x"][0, 0]) for feed in openvino._Rows(write_samples(tmp_path / "many", feeds))]
    assert len(rows) == openvino.CALIBRATION_ROWS == 300
    assert rows[-1] >= 690  # the last photos count, not only the first
    assert rows == sorted(set(rows))
    few = [float(feed["x"][0, 0]) for feed in openvino._Rows(write_samples(tmp_path / "few", feeds[:2]))]
    assert few == list(range(14))


def test_this_cpu_is_told_what_it_lacks() -> None:
    assert openvino.unavailable(SLOTS[openvino.FLOAT]) is None
    assert (openvino.unavailable(SLOTS["openvino-bf16"]) is None) == has_bf16()
    vnni = bool(cpu_flags() & {"avx512_vnni", "avx_vnni"})
    assert (openvino.unavailable(SLOTS[openvino.INT8]) is None) == vnni


def test_a_network_that_openvino_cannot_read_is_refused_in_one_line(inputs: Inputs, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("OfNobody", ["x"], ["y"], name="odd", domain="com.nobody")],
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.nobody", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "odd.onnx")
    odd = dataclasses.replace(inputs, network=tmp_path / "odd.onnx")
    with pytest.raises(Unsupported, match="OfNobody") as refused:
        compiled(openvino, plan(openvino.FLOAT), odd, tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_a_network_of_several_inputs_and_outputs_keeps_their_names(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    weight = numpy_helper.from_array(draw.standard_normal((8, 8)).astype(np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["left", "w"], ["a"], name="first"),
            helper.make_node("Relu", ["a"], ["b"], name="relu"),
            helper.make_node("Add", ["b", "right"], ["sum"], name="sum"),
            helper.make_node("Identity", ["sum"], ["again"], name="again"),
        ],
        "pair",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8]) for name in ("left", "right")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8]) for name in ("sum", "again", "a")],
        [weight],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "pair.onnx"
    )
    feed = {name: draw.standard_normal((4, 8)).astype(np.float32) for name in ("left", "right")}
    samples = write_samples(tmp_path / "samples", [feed] * 3)
    pair = Inputs(network=tmp_path / "pair.onnx", ranges=None, samples=samples)
    for slot, atol in ((openvino.FLOAT, 1e-4), (INT8, 0.5)):
        found = compiled(openvino, plan(slot), pair, tmp_path / slot)
        outputs = load_network("openvino", found.file, 1).run_all(feed)
        expected = load_network("onnxruntime", pair.network, 1).run_all(feed)
        assert list(outputs) == ["sum", "again", "a"]
        for name in outputs:
            np.testing.assert_allclose(outputs[name], expected[name], atol=atol)


def test_the_backbone_runs_in_integers_throughout_and_agrees_with_float(backbone: Inputs, tmp_path: Path) -> None:
    found = compiled(openvino, plan(INT8), backbone, tmp_path / "out")
    covered = openvino.kernels(found.file)
    assert (covered.integer, covered.floating) == (49, 0)
    (feed,) = backbone.samples.read(1)
    photo = np.asarray(feed["photo"], np.uint8)
    expected = load_network("onnxruntime", backbone.network, 0).run(photo)
    assert decibels(expected, load_network("openvino", found.file, 0).run(photo)) > 10
