"""x86 stations: the network of record fuses whole, in the one style that fits the CPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from optimize.kernels import NEEDED_COVERAGE, fallbacks, kernels
from optimize.onnx_bytes import save_onnx
from optimize.quantize import QdqStyle, quantisable, quantize
from optimize.targets import x86
from optimize.targets.target import Compiled, Inputs, Plan, load_target
from runtime.engine import cpu_flags
from tests.optimize.targets.compiling import compiled, compiled_elsewhere, digests, embeddings, least_cosine

TARGET = load_target("x86")
SLOTS = {slot.name: slot for slot in x86.SLOTS}
PLAN = Plan(slot=x86.INT8, calibration="minmax")
AVX2 = Plan(slot=x86.INT8_AVX2, calibration="minmax")
CONVOLUTIONS = 49


@pytest.fixture(scope="module")
def int8(backbone: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(TARGET, PLAN, backbone, tmp_path_factory.mktemp("x86") / "int8")


@pytest.fixture(scope="module")
def avx2(backbone: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(TARGET, AVX2, backbone, tmp_path_factory.mktemp("x86") / "avx2")


def test_float_is_the_baseline_of_both_integer_variants_and_needs_no_instructions() -> None:
    TARGET.require()
    assert SLOTS[x86.FLOAT].baseline is None
    assert SLOTS[x86.FLOAT].isa == ()
    assert {SLOTS[name].baseline for name in (x86.INT8, x86.INT8_AVX2)} == {x86.FLOAT}
    assert TARGET.unavailable(SLOTS[x86.FLOAT]) is None


def test_what_this_cpu_lacks_is_said_and_what_to_do() -> None:
    slot = dataclasses.replace(SLOTS[x86.INT8], isa=("no_such_flag|nor_this",))
    reason = TARGET.unavailable(slot)
    assert reason is not None
    assert reason.startswith("ISA: this CPU has none of no_such_flag|nor_this, so what ort-cpu-int8 does")
    assert reason.endswith("build on a CPU like the stations'")
    some = next(iter(sorted(cpu_flags())), None)
    if some is not None:
        assert TARGET.unavailable(dataclasses.replace(slot, isa=(f"no_such_flag|{some}",))) is None


def test_the_variant_for_vnni_is_judged_only_where_there_is_vnni() -> None:
    has = bool(cpu_flags() & {"avx512_vnni", "avx_vnni"})
    assert (TARGET.unavailable(SLOTS[x86.INT8]) is None) == has


def test_the_float_variant_is_the_prepared_network_byte_for_byte(backbone: Inputs, tmp_path: Path) -> None:
    found = compiled(TARGET, Plan(slot=x86.FLOAT), backbone, tmp_path / "float")
    assert found.file.read_bytes() == backbone.network.read_bytes()
    assert found.judged_file == found.file
    assert digests(tmp_path / "float").keys() == {found.file.name}


def test_unsigned_activations_fuse_every_convolution(int8: Compiled, avx2: Compiled, backbone: Inputs) -> None:
    for variant in (int8, avx2):
        found = kernels(variant.judged_file)
        assert (found.integer, found.floating) == (CONVOLUTIONS, 0)
        assert fallbacks(variant.judged_file, "CPUExecutionProvider") == []
        assert TARGET.check(SLOTS[x86.INT8], variant, backbone) == []
    assert len(quantisable(onnx.load(backbone.network))) == CONVOLUTIONS


@pytest.mark.skipif("avx2" not in cpu_flags(), reason="no x86 CPU with AVX2")
def test_signed_activations_do_not_fuse_on_x86_and_the_coverage_tells(backbone: Inputs, tmp_path: Path) -> None:
    assert backbone.ranges is not None
    signed = quantize(backbone.network, backbone.ranges, QdqStyle(activation="int8"), "minmax", ())
    save_onnx(signed, tmp_path / "s8s8.onnx")
    found = kernels(tmp_path / "s8s8.onnx")
    assert found.integer + found.floating == CONVOLUTIONS
    assert found.share < NEEDED_COVERAGE


def test_the_variant_without_vnni_has_weights_of_seven_bits_and_keeps_the_embeddings(
    avx2: Compiled, int8: Compiled, backbone: Inputs
) -> None:
    def largest(file: Path) -> int:
        weights = [
            numpy_helper.to_array(tensor)
            for tensor in onnx.load(file).graph.initializer
            if tensor.name.endswith("_quantized") and tensor.data_type == onnx.TensorProto.INT8
        ]
        assert len(weights) == CONVOLUTIONS
        return max(int(np.abs(weight.astype(int)).max()) for weight in weights)

    assert (largest(avx2.file), largest(int8.file)) == (64, 127)
    assert least_cosine(embeddings(avx2.judged_file, backbone), embeddings(backbone.network, backbone)) > 0.9


@pytest.mark.parametrize("place", [0, 20])
def test_an_excluded_convolution_runs_in_float_wherever_it_lies(backbone: Inputs, tmp_path: Path, place: int) -> None:
    name = quantisable(onnx.load(backbone.network))[place]
    mixed = compiled(TARGET, dataclasses.replace(AVX2, excluded=(name,)), backbone, tmp_path / "mixed")
    found = kernels(mixed.judged_file, kept=1)
    assert (found.integer, found.floating, found.excluded) == (CONVOLUTIONS - 1, 1, 1)
    assert found.share == 1.0


def test_a_node_that_every_variant_keeps_in_float_needs_no_plan_to_say_so(backbone: Inputs, tmp_path: Path) -> None:
    name = quantisable(onnx.load(backbone.network))[0]
    kept = compiled(TARGET, AVX2, dataclasses.replace(backbone, keep_float=(name,)), tmp_path / "kept")
    assert kernels(kept.judged_file).floating == 1


def test_another_process_gives_the_same_bytes(avx2: Compiled, backbone: Inputs, tmp_path: Path) -> None:
    again = compiled_elsewhere("x86", AVX2, backbone, tmp_path / "again", hash_seed=7)
    assert again == digests(avx2.file.parent)
