"""NVIDIA stations with the full TensorRT: an FP16 ONNX, from which each station builds an engine for its own GPU.

No GPU ran it here: built, execution unverified. The ONNX is judged by ONNX Runtime, which also serves it on the station
until the engine is built and agrees (``runtime.backends.tensorrt``). Nothing of NVIDIA's is needed to compile it.
"""

from __future__ import annotations

from pathlib import Path

from optimize.onnx_bytes import save_onnx
from optimize.targets.target import Compiled, Inputs, Plan, Slot
from optimize.targets.tensorrt_graph import half_network

ENGINE = "tensorrt"
FP16 = "tensorrt-fp16"

SLOTS = (Slot(name=FP16, engine=ENGINE, precision="fp16", baseline=None, execution="unverified"),)


def require() -> None:
    """Need nothing: the engine is built on the station."""


def unavailable(slot: Slot) -> str | None:
    """Its ONNX can be judged on any machine."""
    return None


def compile(slot: Slot, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:  # noqa: A001 - the port's word
    """Write the network in FP16.

    Raises:
        Unsupported: it does not fit into FP16.
    """
    file = folder / f"{slot.name}.onnx"
    save_onnx(half_network(inputs), file)
    return Compiled(file=file, judged_engine="onnxruntime", judged_file=file)


def check(slot: Slot, compiled: Compiled, inputs: Inputs) -> list[str]:
    """Nothing can be told without the library and a GPU."""
    return []
