"""What a network does for one photo, as ONNX Runtime's profiler counts it: a point of the roofline.

Roofline: S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009. Operations are the multiply-adds of
convolutions and matrix products times 2; bytes are what each kernel reads and writes, weights included, so caches make
the true traffic smaller and the point may lie left of where it belongs, never right.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.latency.results import NetworkWork
from runtime.bundle_store import Bundle
from runtime.engine import choose_variant, cpu_flags


def network_work(bundle: Bundle, infer_ms: float) -> NetworkWork | None:
    """Count the work of the bundle's network for one photo; of a cascade, of the stage that looks first.

    Args:
        bundle: whose preferred variant is meant.
        infer_ms: that it needs for one photo on all cores.

    Returns:
        ``None`` where that variant is not for ONNX Runtime, whose profiler counts.
    """
    variant = choose_variant(bundle.manifest, None, cpu_flags())
    path = bundle.path(variant.first.file if variant.first else variant.file)
    if path.suffix != ".onnx":
        return None
    operations, moved = count(path)
    return NetworkWork(variant=variant.name, operations=operations, bytes=moved, ms=infer_ms)


def count(path: Path) -> tuple[float, float]:
    """Return the operations and bytes of one run of an ONNX file; free dimensions are 1."""
    nodes = _profiled(path)
    moved = sum(int(node[f"{what}_size"]) for node in nodes for what in ("parameter", "activation", "output"))
    return float(sum(map(_operations, nodes))), float(moved)


def _profiled(path: Path) -> list[Mapping[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        options.add_session_config_entry("session.disable_prepacking", "1")  # packed weights are not counted
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0]
        shape = [size if isinstance(size, int) else 1 for size in first.shape]
        session.run(None, {first.name: np.zeros(shape, np.uint8 if "uint8" in first.type else np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [one["args"] for one in events if one.get("cat") == "Node" and "output_type_shape" in one["args"]]


def _operations(node: Mapping[str, Any]) -> int:
    kind = str(node["op_name"])
    inputs, outputs = ([_shape(one) for one in node[f"{end}_type_shape"]] for end in ("input", "output"))
    if "Conv" in kind:
        weight = next(shape for shape in inputs[1:] if len(shape) == 4)
        return 2 * math.prod(outputs[0]) * math.prod(weight[1:])
    if "MatMul" in kind or "Gemm" in kind:
        return 2 * math.prod(outputs[0]) * inputs[0][-1]
    return 0


def _shape(typed: Mapping[str, list[int]]) -> list[int]:
    (shape,) = typed.values()
    return shape
