"""The few CUDA calls that TensorRT needs: which GPU is here, memory on it, copies to and from it.

Whether there is a GPU is asked of the driver itself, so that a machine without one needs nothing installed to say so.
What comes after that was built here and, for want of a GPU, never run: execution unverified.
"""

from __future__ import annotations

import ctypes
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


class Stream:
    """A CUDA stream, and one buffer on the GPU for each tensor; a buffer grows to the largest batch so far."""

    def __init__(self) -> None:
        self._calls = _calls()
        (self.handle,) = _done(self._calls.cudaStreamCreate())
        self._buffers: dict[str, tuple[int, int]] = {}

    def buffer(self, name: str, size: int) -> int:
        """Return the address of a tensor's buffer of at least ``size`` bytes."""
        address, held = self._buffers.get(name, (0, 0))
        if held < size:
            if address:
                _done(self._calls.cudaFree(address))
                del self._buffers[name]
            (address,) = _done(self._calls.cudaMalloc(size))
            self._buffers[name] = int(address), size
        return int(address)

    def send(self, array: npt.NDArray[Any], address: int) -> None:
        """Copy a contiguous array to the GPU; it must live until ``wait``."""
        kind = self._calls.cudaMemcpyKind.cudaMemcpyHostToDevice
        _done(self._calls.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self.handle))

    def fetch(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return a new array that holds what the GPU does, once ``wait`` has returned."""
        array = np.empty(shape, dtype)
        kind = self._calls.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _done(self._calls.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, self.handle))
        return array

    def wait(self) -> None:
        """Wait until everything asked for is done."""
        _done(self._calls.cudaStreamSynchronize(self.handle))


def _calls() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise Unsupported(f"CUDA: {error}; pip install cuda-python") from error
    return runtime


def _done(answer: tuple[Any, ...]) -> tuple[Any, ...]:
    code, *values = answer
    if int(code) != 0:
        raise StationFault(f"GPU: CUDA answers {getattr(code, 'name', code)}; check the GPU and its driver")
    return tuple(values)
