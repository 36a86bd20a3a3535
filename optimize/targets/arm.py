"""ARM stations on ONNX Runtime: INT8 with signed activations and weights (S8S8), which its kernels there are made for.

Compiled here and not timed on the target. The surprising thing: on x86 the very file that ships would leave some
convolutions in float and saturate in others, so its unsigned twin is judged here, which gives ARM's integers exactly.
"""

from __future__ import annotations

from pathlib import Path

from optimize.agreement import disagreements, first_rows, open_session, run_all
from optimize.onnx_bytes import save_onnx
from optimize.quantize import QdqStyle, quantize_plan
from optimize.targets.target import Compiled, Inputs, Plan, Slot
from optimize.unsigned import to_unsigned

ENGINE = "onnxruntime"
INT8 = "ort-arm-int8"

SLOTS = (
    Slot(
        name=INT8,
        engine=ENGINE,
        precision="int8",
        baseline=None,
        isa=("asimddp",),
        calibrations=("minmax", "percentile", "entropy"),
        excludable=True,
        execution="untimed",
    ),
)


def require() -> None:
    """Need nothing but ONNX Runtime, which the toolchain itself needs."""


def unavailable(slot: Slot) -> str | None:
    """Tell that every machine can judge it: the twin needs no instruction of ARM's."""
    return None


def compile(slot: Slot, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:  # noqa: A001 - the port's word
    """Quantise for ARM; beside the file lies its twin, which does not ship.

    Raises:
        Unsupported: the quantiser refuses the network.
    """
    model = quantize_plan(inputs, plan, QdqStyle(activation="int8"))
    file, judged = folder / f"{slot.name}.onnx", folder / f"{slot.name}.judged.onnx"
    save_onnx(model, file)
    save_onnx(to_unsigned(model), judged)
    return Compiled(file=file, judged_engine=ENGINE, judged_file=judged)


def check(slot: Slot, compiled: Compiled, inputs: Inputs) -> list[str]:
    """Run what ships in ARM's integer kernels, which x86 has too though slower, beside the twin that was judged."""
    ships = open_session(compiled.file, as_on_arm=True)
    rows = first_rows(inputs.samples, ships)
    return disagreements(run_all(ships, rows), run_all(open_session(compiled.judged_file), rows), slot.name)
