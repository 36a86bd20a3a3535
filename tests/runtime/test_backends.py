"""One contract for every engine that runs here; what TensorRT says where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from optimize.targets import openvino as openvino_target
from optimize.targets.target import Inputs, Plan
from runtime.backends import openvino, tensorrt
from runtime.backends.cuda import gpu_missing
from runtime.contracts.errors import StationFault, Unsupported
from runtime.engine import Network, load_network
from tests.optimize.targets.engine_networks import CLASSES, PX, photo_network, photos, write_inputs

REPOSITORY = Path(__file__).parents[2]
ENGINES = ("onnxruntime", "openvino", "openvino onnx")

Load = Callable[[str], Network]

no_gpu = pytest.mark.skipif(gpu_missing() is None, reason="this machine has a GPU; this is about machines without")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(photo_network(), tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def load(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Load:
    folder = tmp_path_factory.mktemp("ir")
    compiled = openvino_target.compile(openvino_target.SLOTS[0], Plan(slot=openvino_target.FLOAT), inputs, folder)
    files = {"onnxruntime": inputs.network, "openvino": compiled.file, "openvino onnx": inputs.network}
    return lambda engine: load_network(engine.split()[0], files[engine], 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_of_one_three_and_eight_give_each_photo_the_same_logits(load: Load, engine: str) -> None:
    network, batch = load(engine), photos(8)
    whole = network.run(batch)
    assert whole.dtype == np.float32
    assert whole.shape == (8, CLASSES)
    alone = np.concatenate([network.run(batch[i : i + 1]) for i in range(8)])
    threes = np.concatenate([network.run(batch[i : i + 3]) for i in (0, 3, 6)])
    np.testing.assert_allclose(alone, whole, atol=1e-5)
    np.testing.assert_allclose(threes, whole, atol=1e-5)
    assert np.ptp(whole, axis=0).min() > 1e-3  # photos are told apart


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_agrees_with_the_engine_of_record(load: Load, engine: str) -> None:
    np.testing.assert_allclose(load(engine).run(photos(4)), load("onnxruntime").run(photos(4)), atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_four_threads_at_once_get_what_each_gets_alone(load: Load, engine: str) -> None:
    network = load(engine)
    batches = [photos(2, seed) for seed in range(24)]
    alone = [network.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(network.run, batches))
    np.testing.assert_array_equal(np.stack(together), np.stack(alone))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_result_is_not_written_over_by_the_next_run(load: Load, engine: str) -> None:
    network = load(engine)
    first = network.run(photos(1, seed=1))
    before = first.copy()
    network.run(photos(1, seed=2))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_outputs_come_by_name_and_the_last_one_counts(load: Load, engine: str) -> None:
    network, batch = load(engine), photos(3)
    outputs = network.run_all({"photo": batch})
    assert set(outputs) == {"features", "logits"}
    assert outputs["features"].shape == (3, 16)
    np.testing.assert_array_equal(outputs["logits"], network.run(batch))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "batch",
    [photos(1).astype(np.float32), photos(1)[:, : PX - 1], photos(1)[0]],
    ids=["float32 photos", "a row too few", "no batch"],
)
def test_what_a_network_does_not_take_is_a_fault_and_nothing_is_cast(
    load: Load, engine: str, batch: npt.NDArray[Any]
) -> None:
    network = load(engine)
    with pytest.raises(StationFault, match=str(batch.shape[-2])):
        network.run(batch)
    assert network.run(photos(1)).shape == (1, CLASSES)  # and it goes on


@pytest.mark.parametrize("engine", ENGINES)
def test_a_feed_under_another_name_is_a_fault(load: Load, engine: str) -> None:
    with pytest.raises(StationFault, match="picture"):
        load(engine).run_all({"picture": photos(1)})


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "tensorrt_rtx", "tensorrt"])
@pytest.mark.parametrize("name", ["network.onnx", "network.xml", "network.engine"])
def test_a_corrupt_file_is_refused_by_every_engine(tmp_path: Path, engine: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a network " * 99)
    with pytest.raises(Unsupported, match=name):
        load_network(engine, tmp_path / name, 1)


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
