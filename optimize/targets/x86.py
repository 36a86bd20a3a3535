"""x86 stations on ONNX Runtime: float, INT8 for CPUs with VNNI, and INT8 with 7-bit weights for those without.

Without VNNI two products are summed in 16 bits and saturate, so the same file loses points of accuracy there: each
variant names the instructions that it was gated on, and the loader checks them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from optimize.onnx_bytes import save_onnx
from optimize.quantize import QdqStyle, quantize_plan
from optimize.targets.target import VNNI, Compiled, Inputs, Plan, Slot, lacking_isa

ENGINE = "onnxruntime"
FLOAT, INT8, INT8_AVX2 = "ort-cpu-float32", "ort-cpu-int8", "ort-cpu-int8-avx2"

SLOTS = (
    Slot(name=FLOAT, engine=ENGINE, precision="float32", baseline=None),
    Slot(
        name=INT8,
        engine=ENGINE,
        precision="int8",
        baseline=FLOAT,
        isa=(VNNI,),
        calibrations=("minmax", "percentile", "entropy"),
        excludable=True,
    ),
    Slot(
        name=INT8_AVX2,
        engine=ENGINE,
        precision="int8",
        baseline=FLOAT,
        isa=("avx2",),
        calibrations=("minmax", "percentile", "entropy"),
        excludable=True,
    ),
)

_STYLES = {
    INT8: QdqStyle(activation="uint8"),
    INT8_AVX2: QdqStyle(activation="uint8", reduce_range=True),
}


def require() -> None:
    """Need nothing but ONNX Runtime, which the toolchain itself needs."""


def unavailable(slot: Slot) -> str | None:
    """Tell whether this CPU lacks what the slot is for."""
    return lacking_isa(slot)


def compile(slot: Slot, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:  # noqa: A001 - the port's word
    """Copy the float network, or quantise it in the slot's style."""
    file = folder / f"{slot.name}.onnx"
    if slot.name == FLOAT:
        shutil.copyfile(inputs.network, file)
    else:
        save_onnx(quantize_plan(inputs, plan, _STYLES[slot.name]), file)
    return Compiled(file=file, judged_engine=ENGINE, judged_file=file)


def check(slot: Slot, compiled: Compiled, inputs: Inputs) -> list[str]:
    """Nothing more: coverage and fallback are gates of every ONNX Runtime variant."""
    return []
