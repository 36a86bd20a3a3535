"""TensorRT and TensorRT-RTX, whose interface is the same: builds engines from ONNX, and runs them on an NVIDIA GPU.

Building for TensorRT-RTX needs no GPU and is tested. No GPU ran an engine here: built, execution unverified. A full
TensorRT engine is built on the station, kept by ``runtime.engine_cache``, and the ONNX is served while that takes.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.cuda import Gpu, Graph, Stream, Tensor, first_gpu, gpu_missing
from runtime.background_engine import BackgroundEngine
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import StationFault, Unsupported
from runtime.engine import Network, load_network
from runtime.engine_cache import EngineKey, cache_folder, find_engine, keep_engine

LIBRARIES = ("tensorrt", "tensorrt_rtx")
LARGEST_BATCH = 8

_WARNING = 2  # errors are less, information is more
_OTHER_VERSION, _MALFORMED = 1, 32


class TensorrtNetwork:
    """An engine on the GPU; one run at a time, and the last output is what counts. Execution unverified.

    Tensors lie where they are for good, each as large as the engine's largest batch. The second run in a row of the
    same shapes is recorded as a CUDA graph, and replayed until shapes change; TensorRT-RTX records its own.
    """

    def __init__(self, library: Any, plan: bytes, name: str) -> None:
        self._log = quiet_log(library)
        self._runtime = library.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise Unsupported(f"network {name}: {library.__name__} cannot load this engine: {last_of(self._log)}")
        self._context, self._records_itself = _context(library, self._engine)
        if self._context is None:
            raise Unsupported(f"network {name}: the engine does not fit on this GPU: {last_of(self._log)}")
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        self._kinds = {one: np.dtype(library.nptype(self._engine.get_tensor_dtype(one))) for one in names}
        inputs = [one for one in names if self._engine.get_tensor_mode(one) == library.TensorIOMode.INPUT]
        self._inputs = {one: self._kinds[one] for one in inputs}
        self._outputs = [one for one in names if one not in self._inputs]
        self._lock = threading.Lock()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._graph: Graph | None = None
        try:
            self._stream, self._tensors = Stream(), self._allocate(name)
        except StationFault as error:
            raise Unsupported(f"network {name}: it cannot be loaded here: {error}") from error

    def run(self, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one batch through a network of one input, eight rows at a time; the last output as ``float32``.

        Raises:
            StationFault: the engine failed; the photos are not to blame.
        """
        chunks = [batch[start : start + LARGEST_BATCH] for start in range(0, max(len(batch), 1), LARGEST_BATCH)]
        found = [self.run_all(dict.fromkeys(self._inputs, chunk))[self._outputs[-1]] for chunk in chunks]
        return np.asarray(np.concatenate(found), np.float32)

    def run_all(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run one feed and return every output by its name.

        Args:
            feeds: input name to array.

        Raises:
            StationFault: the engine failed, or a feed is not what the network takes.
        """
        if {name: array.dtype for name, array in feeds.items()} != self._inputs:
            given = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
            raise StationFault(f"network: expected {self._inputs}, got {given}; the program that feeds it is wrong")
        with self._lock:
            again = all(self._shapes.get(name) == array.shape for name, array in feeds.items())
            if not again:
                self._take_shapes({name: array.shape for name, array in feeds.items()})
            for name, array in feeds.items():
                np.copyto(self._view(name), array)
            if again and self._graph is None and not self._records_itself:
                self._graph = self._stream.capture(self._ask)
            if self._graph is not None:
                self._graph.launch()
            else:
                self._ask()
            self._stream.wait()
            return {name: self._view(name).copy() for name in self._outputs}  # the next run writes over the tensor

    def _allocate(self, network: str) -> dict[str, Tensor]:
        """Allocate every tensor for the largest batch, so that no address that a graph knows ever changes."""
        for name in self._inputs:
            self._context.set_input_shape(name, self._engine.get_tensor_profile_shape(name, 0)[2])
        tensors = {}
        for name, kind in self._kinds.items():
            shape = tuple(self._context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise Unsupported(f"network {network}: the shape of {name}, {shape}, depends on what it is fed; fix it")
            tensors[name] = Tensor(math.prod(shape) * kind.itemsize)
            self._context.set_tensor_address(name, tensors[name].address)
        return tensors

    def _take_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._graph, self._shapes = None, {}
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise StationFault(f"network: the engine does not take {name} {self._kinds[name]} {shape}")
        self._shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in self._kinds}

    def _ask(self) -> None:
        for name in self._inputs:
            self._stream.send(self._tensors[name], self._view(name).nbytes)
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise StationFault(f"network: the engine failed: {last_of(self._log)}")
        for name in self._outputs:
            self._stream.fetch(self._tensors[name], self._view(name).nbytes)

    def _view(self, name: str) -> npt.NDArray[Any]:
        return self._tensors[name].view(self._shapes[name], self._kinds[name])


def load(path: Path, threads: int) -> Network:
    """Load a built engine (``.engine``), or an ONNX file: that is served on the CPU until its engine is built.

    Args:
        path: the model.
        threads: of the CPU while an ONNX file's engine is built; 0 lets the engine choose.

    Raises:
        Unsupported: there is no NVIDIA GPU, the library is not installed, or it refuses the file.
    """
    built = path.suffix == ".engine"
    library = installed_library(("tensorrt_rtx",) if built else LIBRARIES)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unsupported(f"network {path.name}: {error.strerror or error}; fetch the bundle again") from error
    if built:
        malformed = engine_malformed(library, data)
        if malformed:
            raise Unsupported(f"network {path.name}: {malformed}")
    missing = gpu_missing()
    if missing:
        raise Unsupported(f"network {path.name}: {missing}; choose a variant for the CPU")
    if built:
        return TensorrtNetwork(library, data, path.name)
    folder, key = cache_folder(), engine_key(library, data, first_gpu())
    plan = find_engine(folder, key)
    if plan is not None:
        return TensorrtNetwork(library, plan, path.name)

    def make() -> Network:
        plan = build_engine(library, data, path.name)
        keep_engine(folder, key, plan)
        return TensorrtNetwork(library, plan, path.name)

    return BackgroundEngine(load_network("onnxruntime", path, threads), make)


def engine_key(library: Any, onnx_bytes: bytes, gpu: Gpu) -> EngineKey:
    """Return the key of the engine that a library builds from an ONNX for a GPU."""
    return EngineKey(
        onnx_sha256=sha256_hex(onnx_bytes),
        library=library.__name__,
        version=library.__version__,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
    )


def build_engine(library: Any, onnx_bytes: bytes, name: str) -> bytes:
    """Build an engine for batches of 1 to 8, tuned for 1; types are those that the ONNX names.

    Two builds of the same network need not give the same bytes: the builder is not deterministic.

    Args:
        library: ``tensorrt`` or ``tensorrt_rtx``.
        onnx_bytes: the network, its weights inside; only the first axis of an input may be dynamic.
        name: of the network, for messages.

    Raises:
        Unsupported: the parser or the builder refuses it; the message names the node where that is known.
    """
    log = quiet_log(library)
    builder = library.Builder(log)
    flags = library.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0)
    parser = library.OnnxParser(network, log)
    if not parser.parse(onnx_bytes):
        raise Unsupported(f"network {name}: {library.__name__} does not take it: {_parse_error(parser)}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for tensor in (network.get_input(number) for number in range(network.num_inputs)):
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise Unsupported(
                f"network {name}: input {tensor.name} {shape}: only the batch may be dynamic here; fix it"
            )
        if shape and shape[0] == -1:
            one = (1, *shape[1:])
            profile.set_shape(tensor.name, one, one, (LARGEST_BATCH, *shape[1:]))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Unsupported(f"network {name}: {library.__name__} cannot build an engine: {last_of(log)}")
    return bytes(plan)


def engine_malformed(library: Any, plan: bytes) -> str | None:
    """Return in words that bytes are no engine of this library, as far as their header tells; needs no GPU."""
    if not hasattr(library.Runtime, "get_engine_validity"):
        return None
    _, found = library.Runtime(quiet_log(library)).get_engine_validity(plan)
    if int(found) & _MALFORMED:
        return f"these {len(plan)} bytes are no engine of {library.__name__}; fetch the bundle again"
    if int(found) & _OTHER_VERSION:
        return (
            f"the engine was built by another version than {library.__name__} {library.__version__}; install that one"
        )
    return None


def quiet_log(library: Any) -> Any:
    """Return a logger that keeps the last errors in ``lines`` and prints nothing."""

    class QuietLog(library.ILogger):  # type: ignore[misc]  # its base is chosen when it is installed
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Keep a message."""
            if int(severity) < _WARNING:
                self.lines = [*self.lines[-9:], message]

    return QuietLog()


def last_of(log: Any) -> str:
    """Return the last error on one line."""
    return " ".join(log.lines[-1].split())[:300] if log.lines else "it gives no reason"


def _context(library: Any, engine: Any) -> tuple[Any, bool]:
    """Return an execution context, and whether it records CUDA graphs by itself, as TensorRT-RTX can."""
    if not hasattr(library, "CudaGraphStrategy"):
        return engine.create_execution_context(), False
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config), True


def _parse_error(parser: Any) -> str:
    if not parser.num_errors:
        return "it gives no reason"
    error = parser.get_error(0)
    reason = " ".join(line for line in error.desc().splitlines() if "checkMacros" not in line)
    return f"node {error.node_name()!r} ({error.node_operator()}): {' '.join(reason.split())[:300]}"


def installed_library(names: tuple[str, ...]) -> Any:
    """Import the first of these libraries that is installed.

    Raises:
        Unsupported: none is; the message says what to install.
    """
    for name in names:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError):  # OSError: one of its shared libraries
            continue
    raise Unsupported(f"engine {names[0]!r} is not installed here; pip install {' or '.join(names)}")
