"""OpenVINO on the CPU, in exactly the precision that the network was certified in.

Left to itself OpenVINO takes bfloat16 where the CPU has it and float32 where it has not, and says neither. So an IR
carries its precision in its own metadata, the device is told, and the compiled network is read back: one that would
run in another precision is refused. Never calls home.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.telemetry import keep_home
from runtime.contracts.errors import StationFault, Unsupported

keep_home()

import openvino as ov  # noqa: E402 - its own import is what would call home

DEVICE = "CPU"
PRECISION = ("touchstone", "precision")
"""Where an IR's metadata says in which precision its float operators run: ``f32`` or ``bf16``."""

_TYPES = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}
_PRECISION = "INFERENCE_PRECISION_HINT"
_SETTINGS: Mapping[str, Any] = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,  # one graph in memory; callers take turns
    "ENABLE_CPU_PINNING": False,  # the camera and the page need the cores too
    "CACHE_DIR": "",  # a compiled copy on disk would outlive its bundle
}
"""For a machine that also runs a camera and a page; ADR 14 has the measurements."""


class OpenvinoNetwork:
    """A compiled network; threads have infer requests of their own and take turns; the last output is what counts."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self.compiled = compiled
        self._inputs = {one.get_any_name(): one.get_element_type().to_dtype() for one in compiled.inputs}
        self._names = [_name(one) for one in compiled.outputs]
        self._own = threading.local()

    def run(self, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one batch through a network of one input and return the last output as ``float32``.

        Raises:
            StationFault: the engine failed; the photos are not to blame.
        """
        outputs = self.run_all(dict.fromkeys(self._inputs, batch))
        return np.asarray(outputs[self._names[-1]], np.float32)

    def run_all(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run one feed and return every output by its name.

        Args:
            feeds: input name to array.

        Raises:
            StationFault: the engine failed, or a feed is not what the network takes.
        """
        what = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
        if {name: array.dtype for name, array in feeds.items()} != self._inputs:  # OpenVINO would cast in silence
            takes = ", ".join(f"{name} {dtype}" for name, dtype in self._inputs.items())
            raise StationFault(f"network: expected {takes}, got {what}; this is a defect of the program that feeds it")
        try:
            request = self._request()
            request.infer({name: np.ascontiguousarray(array) for name, array in feeds.items()}, share_inputs=True)
            return {
                name: np.array(request.get_output_tensor(number).data)  # a copy: the next run writes over the tensor
                for number, name in enumerate(self._names)
            }
        except Exception as error:  # its errors share no other base
            raise StationFault(f"network: OpenVINO cannot run {what}: {_reason(error)}") from error

    def _request(self) -> ov.InferRequest:
        if not hasattr(self._own, "request"):
            self._own.request = self.compiled.create_infer_request()
        request: ov.InferRequest = self._own.request
        return request


def load(path: Path, threads: int) -> OpenvinoNetwork:
    """Load an IR (``.xml`` with its ``.bin`` beside it) or an ONNX file for the CPU.

    Args:
        path: the model.
        threads: threads of one inference; 0 lets the engine choose.

    Raises:
        Unsupported: OpenVINO refuses the file, or this CPU would run it in another precision than it was built for.
    """
    try:
        core = ov.Core()
        model = core.read_model(path)
        wanted = precision_of(model)
        compiled = core.compile_model(model, DEVICE, {**_SETTINGS, **_threads(threads), _PRECISION: _TYPES[wanted]})
        got = compiled.get_property(_PRECISION)
    except Exception as error:  # its errors share no other base
        raise Unsupported(f"network {path.name}: OpenVINO refuses it: {_reason(error)}") from error
    if got != _TYPES[wanted]:
        raise Unsupported(
            f"network {path.name}: built for {wanted}, but OpenVINO would run it in {got.get_type_name()} on this CPU; "
            "choose another variant"
        )
    return OpenvinoNetwork(compiled)


def precision_of(model: ov.Model) -> str:
    """Return the precision that a model asks for: ``f32`` where it says nothing, as ONNX never does."""
    return str(model.get_rt_info(list(PRECISION)).astype(str)) if model.has_rt_info(list(PRECISION)) else "f32"


def has_bf16() -> bool:
    """Tell whether this CPU computes in bfloat16."""
    return "BF16" in ov.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def _threads(threads: int) -> dict[str, int]:
    return {"INFERENCE_NUM_THREADS": threads} if threads else {}


def _name(output: ov.ConstOutput) -> str:
    """Return an output's name in the ONNX; its tensor may have several."""
    own = str(output.get_node().get_friendly_name()).removesuffix("/sink_port_0")
    names = output.get_names()
    return own if own in names or not names else str(output.get_any_name())


def _reason(error: Exception) -> str:
    """Return the lines of OpenVINO's message that are not its own source files."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return " ".join(" ".join(lines or [str(error)]).split())[:300]
