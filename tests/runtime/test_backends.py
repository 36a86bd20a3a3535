"""What is one engine's own: OpenVINO's precision, the oracle's place, what TensorRT says where there is no GPU."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from optimize.targets import openvino as openvino_target
from optimize.targets.target import TARGETS, Inputs, Plan
from runtime.backends import openvino, tensorrt
from runtime.backends.cuda import gpu_missing
from runtime.contracts.errors import Unsupported
from runtime.engine import BACKENDS, LIBRARIES, is_installed, load_network
from tests.optimize.targets.engine_networks import PX, photo_network, write_inputs

REPOSITORY = Path(__file__).parents[2]
no_gpu = pytest.mark.skipif(gpu_missing() is None, reason="this machine has a GPU; this is about machines without")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(photo_network(), tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("engine", BACKENDS)
@pytest.mark.parametrize("name", ["network.onnx", "network.xml", "network.engine"])
def test_a_corrupt_file_is_refused_by_every_engine(tmp_path: Path, engine: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a network " * 99)
    with pytest.raises(Unsupported, match=name):
        load_network(engine, tmp_path / name, 1)


def test_a_file_that_is_whole_and_no_network_is_refused_before_it_is_run(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx.ModelProto(ir_version=10).SerializeToString())
    for engine in ("onnxruntime", "openvino", "reference"):
        with pytest.raises(Unsupported, match=r"network model\.onnx"):
            load_network(engine, tmp_path / "model.onnx", 1)


def test_every_engine_names_the_library_that_it_needs() -> None:
    assert set(LIBRARIES) == set(BACKENDS)


def test_the_oracle_says_what_to_install_where_its_library_is_absent(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_installed("reference")
    monkeypatch.setitem(sys.modules, "onnx", None)  # what Python itself takes for "not installed"
    monkeypatch.delitem(sys.modules, BACKENDS["reference"], raising=False)
    assert not is_installed("reference")
    with pytest.raises(Unsupported, match=r"engine 'reference' is not installed here .*; pip install onnx$"):
        load_network("reference", inputs.network, 1)


def test_no_target_makes_a_variant_for_the_oracle() -> None:
    engines = {slot.engine for target in TARGETS.values() for slot in importlib.import_module(target).SLOTS}
    assert "onnxruntime" in engines
    assert "reference" not in engines


def test_openvino_keeps_to_the_threads_that_it_is_given(inputs: Inputs) -> None:
    assert openvino.load(inputs.network, 1).compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_openvino_says_in_which_precision_it_runs_and_float_means_float(inputs: Inputs) -> None:
    compiled = openvino.load(inputs.network, 1).compiled
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


@pytest.mark.skipif(openvino.has_bf16(), reason="this CPU computes in bfloat16; this is about CPUs that do not")
def test_a_network_for_bfloat16_is_refused_where_it_would_run_in_float_in_silence(
    inputs: Inputs, tmp_path: Path
) -> None:
    slot = next(slot for slot in openvino_target.SLOTS if slot.precision == "bf16")
    compiled = openvino_target.compile(slot, Plan(slot=slot.name), inputs, tmp_path)
    with pytest.raises(Unsupported, match="built for bf16, but OpenVINO would run it in f32"):
        load_network("openvino", compiled.file, 1)
    assert "bf16" in openvino_target.check(slot, compiled, inputs)[0]


def test_openvino_and_nncf_do_not_call_home(tmp_path: Path) -> None:
    script = (
        "import sys, runtime.backends.openvino, nncf\n"
        "from nncf.telemetry import wrapper\n"
        "print(sorted(one for one in sys.modules if one.startswith('openvino_telemetry') and sys.modules[one]))\n"
        "print(type(wrapper.telemetry).__name__)"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["[]", "MagicMock"]
    assert not (tmp_path / "intel").exists()  # where its reporter would keep an id


@no_gpu
def test_tensorrt_without_a_gpu_says_so_and_does_not_crash(inputs: Inputs) -> None:
    for engine in ("tensorrt", "tensorrt_rtx"):
        with pytest.raises(Unsupported, match=r"no NVIDIA GPU.*choose a variant for the CPU"):
            load_network(engine, inputs.network, 1)


@no_gpu
def test_a_good_engine_without_a_gpu_is_told_from_a_corrupt_one(tmp_path: Path) -> None:
    library = pytest.importorskip("tensorrt_rtx")
    model = photo_network()
    del model.graph.node[0]  # its transpose of bytes
    model.graph.node[0].input[0] = "photo"
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("photo", onnx.TensorProto.UINT8, ["N", 3, PX, PX]))
    plan = tensorrt.build_engine(library, model.SerializeToString(), "photos")
    (tmp_path / "good.engine").write_bytes(plan)
    assert tensorrt.engine_malformed(library, plan) is None
    with pytest.raises(Unsupported, match=r"good\.engine: no NVIDIA GPU"):
        load_network("tensorrt_rtx", tmp_path / "good.engine", 1)
    (tmp_path / "bad.engine").write_bytes(b"x" * len(plan))
    with pytest.raises(Unsupported, match=r"bad\.engine: these \d+ bytes are no engine"):
        load_network("tensorrt_rtx", tmp_path / "bad.engine", 1)


def test_a_library_that_is_not_installed_is_named_with_what_to_install() -> None:
    with pytest.raises(Unsupported, match="pip install tensorrt_of_nobody"):
        tensorrt.installed_library(("tensorrt_of_nobody",))
