"""What is one engine's own: OpenVINO's precision, the oracle's place, what TensorRT says where there is no GPU."""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from optimize.targets import openvino as openvino_target
from optimize.targets.target import TARGETS, Inputs, Plan
from runtime.backends import cuda, openvino, tensorrt
from runtime.backends.cuda import gpu_missing
from runtime.contracts.errors import StationFault, Unsupported
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


class HostCuda:
    """CUDA as our code sees it, on the host's memory: order, recording and addresses can be tested without a GPU."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.graphs: list[Any] = []
        self.launched = 0

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        block = (ctypes.c_uint8 * size)()
        self.memory[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address: int) -> tuple[int]:
        del self.memory[address]
        return (0,)

    cudaFreeHost = cudaFree

    def cudaStreamCreate(self) -> tuple[int, int]:
        return 0, 1

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        return (0,)

    def ask(self, work: Callable[[], None]) -> None:
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def cudaMemcpyAsync(self, to: int, at: int, size: int, kind: int, stream: int) -> tuple[int]:
        self.ask(lambda: ctypes.memmove(to, at, size) and None)
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:
        self.recording = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, Any]:
        recorded, self.recording = self.recording, None
        return 0, recorded

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, Any]:
        self.graphs.append(graph)
        return 0, graph

    def cudaGraphDestroy(self, graph: Any) -> tuple[int]:
        return (0,)

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[int]:
        self.graphs.remove(graph)
        return (0,)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[int]:
        self.launched += 1
        for work in graph:
            work()
        return (0,)


class DoublingEngine:
    """Engine, context and library of TensorRT in one, as far as our code asks: ``y = 2 x``, float32 (1 to 8, 3)."""

    TensorIOMode = SimpleNamespace(INPUT="in")
    num_io_tensors = 2
    __name__ = "doubling"

    def __init__(self, calls: HostCuda) -> None:
        self.calls, self.rows, self.addresses = calls, 1, dict[str, int]()
        self.ILogger = type("ILogger", (), {})
        self.Runtime = lambda log: self
        self.nptype = np.dtype

    def deserialize_cuda_engine(self, plan: bytes) -> DoublingEngine:
        return self

    def create_execution_context(self) -> DoublingEngine:
        return self

    def get_tensor_name(self, number: int) -> str:
        return "xy"[number]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "x" else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, int]]:
        return [(1, 3), (1, 3), (8, 3)]

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.rows = shape[0]
        return 1 <= shape[0] <= 8 and shape[1:] == (3,)

    def get_tensor_shape(self, name: str) -> tuple[int, int]:
        return self.rows, 3

    def set_tensor_address(self, name: str, address: int) -> None:
        assert name not in self.addresses  # a graph would go on writing to the old one
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        x, y = ((ctypes.c_float * (self.rows * 3)).from_address(self.addresses[name]) for name in "xy")

        def double() -> None:
            y[:] = [2 * value for value in x]

        self.calls.ask(double)
        return True


@pytest.fixture
def host_cuda(monkeypatch: pytest.MonkeyPatch) -> HostCuda:
    calls = HostCuda()
    monkeypatch.setattr(cuda, "_calls", lambda: calls)
    return calls


def test_the_second_run_of_a_shape_is_recorded_and_replayed_on_new_photos(host_cuda: HostCuda) -> None:
    network = tensorrt.TensorrtNetwork(DoublingEngine(host_cuda), b"", "doubling")
    launched = []
    for rows in (1, 1, 1, 3, 3, 1, 1):
        batch = np.random.default_rng(len(launched)).random((rows, 3), np.float32)
        np.testing.assert_array_equal(network.run(batch), 2 * batch)
        launched.append(host_cuda.launched)
    assert launched == [0, 1, 2, 2, 3, 3, 4]
    assert len(host_cuda.graphs) == 1  # the others were given back


def test_more_photos_than_the_engine_takes_go_in_turns_and_a_wrong_shape_harms_no_later_run(
    host_cuda: HostCuda,
) -> None:
    network = tensorrt.TensorrtNetwork(DoublingEngine(host_cuda), b"", "doubling")
    batch = np.arange(57, dtype=np.float32).reshape(19, 3)
    first = network.run(batch)
    for wrong in (batch[:0], batch[:, :2], batch.astype(np.float64)):
        with pytest.raises(StationFault, match=r"does not take|expected"):
            network.run(wrong)
        np.testing.assert_array_equal(network.run(batch[::2]), 2 * batch[::2])
    np.testing.assert_array_equal(first, 2 * batch)  # the caller's own


def test_a_network_that_is_dropped_gives_its_memory_back(host_cuda: HostCuda) -> None:
    network = tensorrt.TensorrtNetwork(DoublingEngine(host_cuda), b"", "doubling")
    for _ in range(3):
        network.run(np.ones((1, 3), np.float32))
    assert len(host_cuda.memory) == 4  # two tensors, on both sides
    del network
    assert (host_cuda.memory, host_cuda.graphs) == ({}, [])


def test_a_gpu_without_room_is_no_place_for_a_network(host_cuda: HostCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_cuda, "cudaMallocHost", lambda size: (2, None))
    with pytest.raises(Unsupported, match="network doubling: it cannot be loaded here: GPU: CUDA answers 2"):
        tensorrt.TensorrtNetwork(DoublingEngine(host_cuda), b"", "doubling")
