"""The file, the config and the build manifest that an app's team takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import onnxruntime
import pytest

from optimize.kernels import kernels
from optimize.targets import mobile
from optimize.targets.target import Compiled, Inputs, Plan, Slot, load_target
from runtime.contracts.errors import Unsupported
from tests.optimize.targets.compiling import compiled, compiled_elsewhere, digests, embeddings, least_cosine

TARGET = load_target("mobile")
SLOTS: Mapping[str, Slot] = {slot.name: slot for slot in mobile.SLOTS}
PLANS = {
    mobile.FLOAT: Plan(slot=mobile.FLOAT),
    mobile.INT8: Plan(slot=mobile.INT8, calibration="minmax"),
}


@pytest.fixture(scope="module")
def made(backbone: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compiled]:
    folder = tmp_path_factory.mktemp("mobile")
    return {name: compiled(TARGET, plan, backbone, folder / name) for name, plan in PLANS.items()}


def manifest_of(one: Compiled) -> dict[str, object]:
    return dict(json.loads(one.companions[1].read_text()))


def test_every_machine_can_compile_and_judge_both_and_none_claims_to_have_timed_them() -> None:
    TARGET.require()
    assert [TARGET.unavailable(slot) for slot in mobile.SLOTS] == [None, None]
    assert {slot.execution for slot in mobile.SLOTS} == {"untimed"}


@pytest.mark.parametrize(("name", "least"), [(mobile.FLOAT, 0.9999), (mobile.INT8, 0.9)])
def test_the_file_that_ships_loads_here_and_keeps_the_embeddings(
    made: dict[str, Compiled], backbone: Inputs, name: str, least: float
) -> None:
    one = made[name]
    assert one.file.suffix == ".ort"
    assert one.file.read_bytes()[4:8] == b"ORTM"
    assert least_cosine(embeddings(one.file, backbone), embeddings(backbone.network, backbone)) > least
    assert TARGET.check(SLOTS[name], one, backbone) == []


def test_int8_is_baked_into_integer_kernels_and_a_quarter_the_size(made: dict[str, Compiled]) -> None:
    found = kernels(made[mobile.INT8].file)
    assert (found.integer, found.floating) == (49, 0)
    assert made[mobile.INT8].file.stat().st_size < 0.3 * made[mobile.FLOAT].file.stat().st_size


def test_the_config_lists_the_operators_with_their_types_and_names_no_path(made: dict[str, Compiled]) -> None:
    config = made[mobile.INT8].companions[0]
    assert config.name == "mobile-int8.required_operators_and_types.config"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("#")]
    assert (
        lines[-1] == 'com.microsoft;1;QLinearAdd{"inputs": {"0": ["int8_t"]}},QLinearConv{"inputs": {"0": ["int8_t"]}}'
    )
    assert "/" not in config.read_text()
    float_config = made[mobile.FLOAT].companions[0].read_text()
    assert "Conv" in float_config
    assert "QLinear" not in float_config


def test_the_build_manifest_says_what_a_runtime_must_have(made: dict[str, Compiled]) -> None:
    one = made[mobile.INT8]
    manifest = manifest_of(one)
    assert manifest["onnxruntime"] == onnxruntime.__version__
    assert manifest["bytes"] == one.file.stat().st_size
    assert manifest["inputs"] == [{"name": "photo", "dtype": "uint8", "shape": [None, 224, 224, 3]}]
    assert manifest["outputs"] == [{"name": "embedding", "dtype": "float", "shape": [None, 1280]}]
    assert {
        "domain": "com.microsoft",
        "opset": 1,
        "operator": "QLinearConv",
        "types": {"inputs": {"0": ["int8_t"]}},
    } in manifest["kernels"]  # type: ignore[operator]
    assert f"--include_ops_by_config {one.companions[0].name}" in str(manifest["build"])


def test_a_config_that_lacks_an_operator_is_refused_in_words(
    made: dict[str, Compiled], backbone: Inputs, tmp_path: Path
) -> None:
    one = made[mobile.INT8]
    text = one.companions[0].read_text()
    (tmp_path / "cut.config").write_text("".join(x for x in text.splitlines(True) if "com.microsoft" not in x))
    cut = dataclasses.replace(one, companions=(tmp_path / "cut.config", one.companions[1]))
    (refusal,) = TARGET.check(SLOTS[mobile.INT8], cut, backbone)
    assert "would lack com.microsoft:1:QLinearAdd, com.microsoft:1:QLinearConv" in refusal


def test_a_file_that_does_not_load_is_refused_in_words(
    made: dict[str, Compiled], backbone: Inputs, tmp_path: Path
) -> None:
    one = made[mobile.FLOAT]
    (tmp_path / "torn.ort").write_bytes(one.file.read_bytes()[:4096])
    (refusal,) = TARGET.check(SLOTS[mobile.FLOAT], dataclasses.replace(one, file=tmp_path / "torn.ort"), backbone)
    assert refusal.startswith("mobile: network torn.ort: ONNX Runtime refuses it:")


def test_another_file_than_was_judged_is_refused_in_words(made: dict[str, Compiled], backbone: Inputs) -> None:
    mixed_up = dataclasses.replace(made[mobile.FLOAT], judged_file=made[mobile.INT8].judged_file)
    (refusal,) = TARGET.check(SLOTS[mobile.FLOAT], mixed_up, backbone)
    assert refusal.startswith("agreement: output 'embedding' of mobile-float32 is not what was judged")


def test_a_network_that_cannot_be_converted_is_refused_in_words(backbone: Inputs, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    inputs = dataclasses.replace(backbone, network=tmp_path / "bad.onnx")
    with pytest.raises(Unsupported, match=r"^mobile: ONNX Runtime cannot convert this network to \.ort: "):
        compiled(TARGET, PLANS[mobile.FLOAT], inputs, tmp_path / "out")


def test_other_processes_give_the_same_bytes(made: dict[str, Compiled], backbone: Inputs, tmp_path: Path) -> None:
    # the order that the converter leaves to chance has few outcomes: two runs may agree by luck
    for name, runs in ((mobile.FLOAT, 3), (mobile.INT8, 1)):
        here = digests(made[name].file.parent)
        assert {f"{name}.ort", f"{name}.build.json", f"{name}.required_operators_and_types.config"} <= set(here)
        for seed in range(runs):
            assert compiled_elsewhere("mobile", PLANS[name], backbone, tmp_path / f"{name}-{seed}", seed) == here
