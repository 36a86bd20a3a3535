"""The few CUDA calls that TensorRT needs: which GPU is here, memory on it, copies to and from it, and CUDA graphs.

Whether there is a GPU is asked of the driver itself, so that a machine without one needs nothing installed to say so.
What comes after that was built here and, for want of a GPU, never run: execution unverified.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contracts.errors import StationFault, Unsupported

DRIVER_FILE = Path("/proc/driver/nvidia/version")


def gpu_missing() -> str | None:
    """Return why there is no NVIDIA GPU to run on, in words; ``None`` where there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA GPU: its driver is not installed"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return "no NVIDIA GPU: its driver does not start"
    return None if count.value else "no NVIDIA GPU: its driver sees none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """The first GPU: its compute capability, for example ``8.9``, and its driver's version."""

    compute_capability: str
    driver: str


def first_gpu() -> Gpu:
    """Describe the first GPU.

    Raises:
        Unsupported: there is none, or the CUDA bindings are not installed.
    """
    missing = gpu_missing()
    if missing:
        raise Unsupported(missing)
    calls = _calls()
    kind = calls.cudaDeviceAttr
    major, minor = (
        _done(calls.cudaDeviceGetAttribute(one, 0))[0]
        for one in (kind.cudaDevAttrComputeCapabilityMajor, kind.cudaDevAttrComputeCapabilityMinor)
    )
    own = DRIVER_FILE.read_text().splitlines()[0] if DRIVER_FILE.is_file() else ""
    return Gpu(
        compute_capability=f"{major}.{minor}",
        driver=f"CUDA {_done(calls.cudaDriverGetVersion())[0]} {own}".strip(),
    )


class Tensor:
    """One tensor's memory: on the GPU, and page-locked on the host, so that a copy needs no copy of its own.

    Attributes:
        address: on the GPU.
        host: the host's side, ``uint8 (size,)``; copies go from and to it.
    """

    def __init__(self, size: int) -> None:
        calls, size = _calls(), max(size, 1)
        (address,) = _done(calls.cudaMalloc(size))
        _when_dropped(self, calls.cudaFree, address)
        (pinned,) = _done(calls.cudaMallocHost(size))
        _when_dropped(self, calls.cudaFreeHost, pinned)
        self.address = int(address)
        self.host: npt.NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(pinned)))

    def view(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return the host's side as an array of this shape, from its first byte on."""
        kind = np.dtype(dtype)
        array: npt.NDArray[Any] = self.host[: math.prod(shape) * kind.itemsize].view(kind).reshape(shape)
        return array


class Stream:
    """A CUDA stream: what is asked of it is done in order, and ``wait`` waits for it."""

    def __init__(self) -> None:
        self._calls = _calls()
        (self.handle,) = _done(self._calls.cudaStreamCreate())
        _when_dropped(self, self._calls.cudaStreamDestroy, self.handle)

    def send(self, tensor: Tensor, size: int) -> None:
        """Copy the first ``size`` bytes from the host's side to the GPU."""
        kind = self._calls.cudaMemcpyKind.cudaMemcpyHostToDevice
        _done(self._calls.cudaMemcpyAsync(tensor.address, tensor.host.ctypes.data, size, kind, self.handle))

    def fetch(self, tensor: Tensor, size: int) -> None:
        """Copy the first ``size`` bytes from the GPU to the host's side."""
        kind = self._calls.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _done(self._calls.cudaMemcpyAsync(tensor.host.ctypes.data, tensor.address, size, kind, self.handle))

    def capture(self, ask: Callable[[], None]) -> Graph:
        """Record what ``ask`` asks of this stream, without doing it."""
        _done(self._calls.cudaStreamBeginCapture(self.handle, _mode(self._calls)))
        try:
            ask()
        finally:
            (graph,) = _done(self._calls.cudaStreamEndCapture(self.handle))  # or the stream stays unusable
        (ready,) = _done(self._calls.cudaGraphInstantiate(graph, 0))
        _done(self._calls.cudaGraphDestroy(graph))
        return Graph(ready, self.handle)

    def wait(self) -> None:
        """Wait until everything asked for is done."""
        _done(self._calls.cudaStreamSynchronize(self.handle))


class Graph:
    """What was recorded from a stream, to be asked for again in one call."""

    def __init__(self, ready: Any, stream: Any) -> None:
        self._calls, self._ready, self._stream = _calls(), ready, stream
        _when_dropped(self, self._calls.cudaGraphExecDestroy, ready)

    def launch(self) -> None:
        """Ask its stream for all of it."""
        _done(self._calls.cudaGraphLaunch(self._ready, self._stream))


def _calls() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise Unsupported(f"CUDA: {error}; pip install cuda-python") from error
    return runtime


def _when_dropped(holder: object, give_back: Callable[[Any], Any], what: Any) -> None:
    weakref.finalize(holder, give_back, what).atexit = False  # CUDA may be gone by then, and its memory with it


def _mode(calls: Any) -> Any:
    """Other threads, of a camera perhaps, may use the GPU while this one records."""
    return calls.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal


def _done(answer: tuple[Any, ...]) -> tuple[Any, ...]:
    code, *values = answer
    if int(code) != 0:
        raise StationFault(f"GPU: CUDA answers {getattr(code, 'name', code)}; check the GPU and its driver")
    return tuple(values)
