"""INT8 for ARM stations, judged where there is no ARM."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from optimize.agreement import first_rows, open_session, run_all
from optimize.kernels import kernels
from optimize.targets import arm
from optimize.targets.target import Compiled, Inputs, Plan, load_target
from tests.optimize.targets.compiling import compiled, compiled_elsewhere, digests, embeddings, least_cosine

TARGET = load_target("arm")
(SLOT,) = arm.SLOTS
PLAN = Plan(slot=arm.INT8, calibration="minmax")


@pytest.fixture(scope="module")
def int8(backbone: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(TARGET, PLAN, backbone, tmp_path_factory.mktemp("arm") / "int8")


def test_every_machine_can_compile_and_judge_it_and_none_claims_to_have_timed_it() -> None:
    TARGET.require()
    assert TARGET.unavailable(SLOT) is None
    assert SLOT.execution == "untimed"
    assert SLOT.isa == ("asimddp",)


def test_what_ships_has_signed_activations_and_signed_weights_per_channel(int8: Compiled) -> None:
    graph = onnx.load(int8.file).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    activations = {constants[node.input[2]].data_type for node in graph.node if node.op_type == "QuantizeLinear"}
    weights = [
        numpy_helper.to_array(constants[node.input[2]])
        for node in graph.node
        if node.op_type == "DequantizeLinear" and len(constants.get(node.input[0], TensorProto()).dims) == 4
    ]
    assert activations == {TensorProto.INT8}
    assert len(weights) == 49
    assert all(zeros.dtype == np.int8 and zeros.ndim == 1 and not zeros.any() for zeros in weights)


def test_what_is_judged_runs_in_integers_here_and_keeps_the_embeddings(int8: Compiled, backbone: Inputs) -> None:
    found = kernels(int8.judged_file)
    assert (found.integer, found.floating) == (49, 0)
    assert least_cosine(embeddings(int8.judged_file, backbone), embeddings(backbone.network, backbone)) > 0.9


def test_the_twin_that_is_judged_gives_the_very_numbers_of_arms_kernels(int8: Compiled, backbone: Inputs) -> None:
    ships = open_session(int8.file, as_on_arm=True)
    rows = first_rows(backbone.samples, ships)
    (got,), (judged,) = run_all(ships, rows).values(), run_all(open_session(int8.judged_file), rows).values()
    assert got.shape == (4, 1280)
    np.testing.assert_array_equal(got, judged)
    assert TARGET.check(SLOT, int8, backbone) == []


def test_another_network_than_was_judged_is_refused_in_words(int8: Compiled, backbone: Inputs, tmp_path: Path) -> None:
    changed = onnx.load(int8.judged_file)
    scale = next(t for t in changed.graph.initializer if t.name.endswith("_conv_stem.weight_scale"))
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.5), scale.name))
    onnx.save(changed, tmp_path / "changed.onnx")
    (refusal,) = TARGET.check(SLOT, dataclasses.replace(int8, judged_file=tmp_path / "changed.onnx"), backbone)
    assert refusal.startswith("agreement: output 'embedding' of ort-arm-int8 is not what was judged: cosine 0.")


def test_another_process_gives_the_same_bytes(int8: Compiled, backbone: Inputs, tmp_path: Path) -> None:
    again = compiled_elsewhere("arm", PLAN, backbone, tmp_path / "again", hash_seed=7)
    assert again == digests(int8.file.parent)
    assert set(again) == {int8.file.name, int8.judged_file.name}


def test_excluded_nodes_stay_in_float_in_both_files(backbone: Inputs, tmp_path: Path) -> None:
    name = next(node.name for node in onnx.load(backbone.network).graph.node if node.op_type == "Conv")
    plan = dataclasses.replace(PLAN, excluded=(name,))
    mixed = compiled(TARGET, plan, backbone, tmp_path / "mixed")
    found = kernels(mixed.judged_file)
    assert (found.integer, found.floating) == (48, 1)
    assert TARGET.check(SLOT, mixed, backbone) == []
