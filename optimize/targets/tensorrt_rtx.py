"""NVIDIA RTX stations: engines built ahead of time with no GPU, portable to every generation from Ampere on.

No GPU ran them here: built, execution unverified. What is judged on this machine is an ONNX of the same arithmetic, run
by ONNX Runtime; a station lets the golden samples decide before it serves the engine. FP16 is the default,
because NVIDIA's support matrix lists INT8 only for weights there: INT8 wins by measurement on a GPU or not at all.
Engines are the one thing here whose bytes differ from build to build: the builder is not deterministic.
"""

from __future__ import annotations

from pathlib import Path

from optimize.onnx_bytes import onnx_bytes, save_onnx
from optimize.targets.target import Compiled, Inputs, Plan, Slot
from optimize.targets.tensorrt_graph import half_network, int8_networks
from runtime.backends.cuda import gpu_missing
from runtime.backends.tensorrt import build_engine, engine_malformed, installed_library
from runtime.contracts.errors import Unsupported

ENGINE = "tensorrt_rtx"
FP16, INT8 = "tensorrt-rtx-fp16", "tensorrt-rtx-int8"

SLOTS = (
    Slot(name=FP16, engine=ENGINE, precision="fp16", baseline=None, execution="unverified"),
    Slot(
        name=INT8,
        engine=ENGINE,
        precision="int8",
        baseline=FP16,
        calibrations=("minmax",),
        excludable=True,
        execution="unverified",
    ),
)


def require() -> None:
    """Need the builder, which needs no GPU.

    Raises:
        Unsupported: it is missing.
    """
    try:
        installed_library((ENGINE,))
    except Unsupported as error:
        raise Unsupported(f"--target tensorrt-rtx: {error}") from error


def unavailable(slot: Slot) -> str | None:
    """Tell that INT8 is not judged here: it may be slower than FP16, and nothing here times an engine on a GPU."""
    if slot.name != INT8:
        return None
    return f"latency: {gpu_missing() or 'nothing here times an engine on a GPU'}, and there INT8 wins only by " + (
        f"measurement; {FP16} is the default"
    )


def compile(slot: Slot, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:  # noqa: A001 - the port's word
    """Build an engine, and keep the ONNX that stands for it on this machine.

    The ONNX is the same from run to run; the engine need not be.

    Raises:
        Unsupported: the network does not fit into FP16, or TensorRT-RTX refuses a node of it.
    """
    if slot.name == FP16:
        network = judged = half_network(inputs)
    else:
        network, judged = int8_networks(plan, inputs)
    file, twin = folder / f"{slot.name}.engine", folder / f"{slot.name}.onnx"
    file.write_bytes(build_engine(installed_library((ENGINE,)), onnx_bytes(network), slot.name))
    save_onnx(judged, twin)
    return Compiled(file=file, judged_engine="onnxruntime", judged_file=twin)


def check(slot: Slot, compiled: Compiled, inputs: Inputs) -> list[str]:
    """Refuse an engine whose own header the library does not recognise; no more can be told without a GPU."""
    malformed = engine_malformed(installed_library((ENGINE,)), compiled.file.read_bytes())
    return [f"engine: {malformed}"] if malformed else []
