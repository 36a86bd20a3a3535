"""Phones: an ``.ort`` file for ONNX Runtime Mobile, the config of the operators it needs, and how to build for it.

Compiled here and not timed on a phone. INT8 is S8S8 as for ARM stations, with its integer kernels baked into the file:
what loads it optimises nothing. Those kernels are exact on x86 too, but slow, so the unsigned twin is judged, which
gives the same integers, and ``check`` compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime as ort

from optimize.agreement import disagreements, first_rows, open_session, run_all
from optimize.kernels import NEEDED_COVERAGE, kernels
from optimize.onnx_bytes import save_onnx
from optimize.quantize import QdqStyle, quantize_plan
from optimize.targets.ort_file import Operator, missing_operators, settle, write_config
from optimize.targets.target import Compiled, Inputs, Plan, Slot
from optimize.unsigned import to_unsigned
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported

ENGINE = "onnxruntime-mobile"
JUDGED_ENGINE = "onnxruntime"
INT8, FLOAT = "mobile-int8", "mobile-float32"

SLOTS = (
    Slot(name=FLOAT, engine=ENGINE, precision="float32", baseline=None, execution="untimed"),
    Slot(
        name=INT8,
        engine=ENGINE,
        precision="int8",
        baseline=None,
        calibrations=("minmax", "percentile", "entropy"),
        excludable=True,
        execution="untimed",
    ),
)


def require() -> None:
    """Need nothing but ONNX Runtime, which the toolchain itself needs."""


def unavailable(slot: Slot) -> str | None:
    """Tell that every machine can judge both."""
    return None


def compile(slot: Slot, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:  # noqa: A001 - the port's word
    """Convert to ``.ort``, with its operators and a build manifest beside it.

    Raises:
        Unsupported: the quantiser or the converter refuses the network.
    """
    file = folder / f"{slot.name}.ort"
    source = judged = inputs.network
    if slot.name == INT8:
        model = quantize_plan(inputs, plan, QdqStyle(activation="int8"))
        source, judged = folder / f"{slot.name}.source.onnx", folder / f"{slot.name}.judged.onnx"
        save_onnx(model, source)
        save_onnx(to_unsigned(model), judged)
    _convert(source, file)
    if slot.name == INT8:
        source.unlink()
    operators = settle(file)
    config = folder / f"{slot.name}.required_operators_and_types.config"
    write_config(operators, config)
    manifest = folder / f"{slot.name}.build.json"
    manifest.write_text(json.dumps(_build_manifest(file, config, operators), indent=2) + "\n", encoding="utf-8")
    return Compiled(
        file=file,
        companions=(config, manifest),
        judged_engine=JUDGED_ENGINE,
        judged_file=judged if slot.name == INT8 else file,
    )


def check(slot: Slot, compiled: Compiled, inputs: Inputs) -> list[str]:
    """Load and run the very file that ships; its operators must be in its config, its Q/DQ pairs in integer kernels."""
    try:
        session = open_session(compiled.file)
        rows = first_rows(inputs.samples, session)
        shipped = run_all(session, rows)
        lacking = missing_operators(compiled.file, compiled.companions[0])
    except Unsupported as error:
        return [f"mobile: {error}"]
    refusals = disagreements(shipped, run_all(open_session(compiled.judged_file), rows), slot.name)
    if lacking:
        refusals.append(
            f"mobile: a runtime built with {compiled.companions[0].name} would lack {', '.join(lacking)}; build again"
        )
    if slot.name == INT8:
        # what the twin leaves in float is left so on purpose; here only what the baking lost counts
        baked, meant = kernels(compiled.file), kernels(compiled.judged_file)
        if baked.integer < NEEDED_COVERAGE * meant.integer:
            refusals.append(
                f"fusion: {baked.integer} integer kernels are baked into {compiled.file.name}, {meant.integer} were "
                "judged; the others would run in float on a phone"
            )
    return refusals


def _convert(source: Path, file: Path) -> None:
    """Bake the optimised graph, as ``convert_onnx_models_to_ort`` does in style Fixed for platform arm."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(file)
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    try:
        # blocked layouts are x86's own: a phone has no kernels for them
        ort.InferenceSession(
            source, options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
        )
    except Exception as error:  # its errors share no other base
        reason = " ".join(str(error).split())[:300]
        raise Unsupported(f"mobile: ONNX Runtime cannot convert this network to .ort: {reason}") from error


def _build_manifest(file: Path, config: Path, operators: list[Operator]) -> dict[str, Any]:
    session = open_session(file)
    data = file.read_bytes()
    return {
        "onnxruntime": ort.__version__,
        "file": file.name,
        "bytes": len(data),
        "sha256": sha256_hex(data),
        "inputs": [_tensor(value) for value in session.get_inputs()],
        "outputs": [_tensor(value) for value in session.get_outputs()],
        "kernels": [
            {
                "domain": one.domain,
                "opset": one.opset,
                "operator": one.name,
                "types": json.loads(one.types) if one.types else None,
            }
            for one in operators
        ],
        "build": (
            f"./build.sh --config MinSizeRel --minimal_build extended --include_ops_by_config {config.name} "
            "--enable_reduced_operator_type_support --skip_tests --parallel"
        ),
        "build_notes": (
            f"in a checkout of ONNX Runtime v{ort.__version__}; add --android --android_abi arm64-v8a or "
            "--ios and the paths of that toolchain"
        ),
    }


def _tensor(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else None for size in value.shape]
    return {"name": value.name, "dtype": value.type.removeprefix("tensor(").removesuffix(")"), "shape": shape}
