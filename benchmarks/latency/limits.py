"""What the machine can do at all, measured: the lines that no station can get under. Medians of short, warm runs.

Entropy decoding is measured as a JPEG decode whose other work is as small as OpenCV lets it be
(``IMREAD_REDUCED_GRAYSCALE_8``): every bit of all three colour channels passes the Huffman decoder, but only one value
a block of the brightness is made into a pixel. So it is a little more than the Huffman decoder alone, and a floor made
of it is a little high.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from onnx import helper, numpy_helper

from benchmarks.latency.results import Limits
from runtime.bundle_store import Bundle
from runtime.cores import core_count
from runtime.engine import choose_variant, cpu_flags, load_network

_SIDE = 1024
_COPY_BYTES = 256 << 20
_WRITE_BYTES = 64 << 20
_REFERENCE_BYTES = 16 << 20


def measure(photo: bytes, folder: Path, repeats: int = 9) -> Limits:
    """Measure this machine.

    Args:
        photo: an encoded 12-megapixel JPEG of the run.
        folder: on the disk that the run writes to.
        repeats: of each piece of work.
    """
    cores, encoded = core_count(), np.frombuffer(photo, np.uint8)
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    products = 2.0 * _SIDE**3 / 1e6  # a millisecond of these is 1e9 a second
    bf16_ms = _bf16_ms(repeats)
    return Limits(
        entropy_decode_ms=median_ms(lambda: cv2.imdecode(encoded, cv2.IMREAD_REDUCED_GRAYSCALE_8), repeats),
        full_decode_ms=median_ms(lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), repeats),
        copy_gb_per_s=_COPY_BYTES / 1e6 / median_ms(lambda: np.copyto(target, source), repeats),
        int8_gops=products / _onnx_ms("MatMulInteger", np.uint8, np.int8, cores, repeats),
        float32_gflops=products / _onnx_ms("MatMul", np.float32, np.float32, cores, repeats),
        bf16_gflops=products / bf16_ms if bf16_ms else None,
        fsync_ms=_write_ms(folder, 4096, 3 * repeats),
        write_mb_per_s=_WRITE_BYTES / 1e3 / _write_ms(folder, _WRITE_BYTES, 3),
        cores=cores,
    )


def floor_ms(limits: Limits, views: int, infer_ms: float) -> float:
    """Return what the limits allow for one verdict: every view's entropy decoding over all cores, inference, one fsync.

    Args:
        limits: of the machine.
        views: that are left to decode when the clock starts.
        infer_ms: of the network alone, for so many views.
    """
    return limits.entropy_decode_ms * views / min(limits.cores, views) + infer_ms + limits.fsync_ms


def infer_ms(bundle: Bundle, views: int, repeats: int = 15) -> float:
    """Return the time that the bundle's network needs for prepared rows of so many views, in its fastest setting.

    Settings: all views in one run on every core, or each in a run of its own, one core each. Of a cascade, the stage
    that looks first.
    """
    manifest, cores = bundle.manifest, core_count()
    variant = choose_variant(manifest, None, cpu_flags())
    assert manifest.input is not None  # the model folder was made from it
    file, px = (variant.first.file, variant.first.px) if variant.first else (variant.file, manifest.input.px)
    rows = np.random.default_rng(0).integers(0, 256, (views, px, px, 3), np.uint8)
    wide = load_network(variant.engine, bundle.path(file), cores)
    together = median_ms(lambda: wide.run(rows), repeats)
    narrow = load_network(variant.engine, bundle.path(file), 1)
    with ThreadPoolExecutor(cores) as pool:
        each = median_ms(
            lambda: list(pool.map(lambda index: narrow.run(rows[index : index + 1]), range(views))), repeats
        )
    return min(together, each)


def reference_ms() -> float:
    """Time one fixed piece of work, the same on every core at once: tells whether the machine's speed changes.

    Each core's part is pinned to it: two short parts that the scheduler leaves on one core look like a slow machine.
    """
    data, cores = bytes(_REFERENCE_BYTES), sorted(os.sched_getaffinity(0))

    def hash_on(core: int) -> None:
        os.sched_setaffinity(0, {core})  # of the calling thread alone
        hashlib.sha256(data)

    with ThreadPoolExecutor(len(cores)) as pool:
        return median_ms(lambda: list(pool.map(hash_on, cores)), 9)


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of a piece of work, milliseconds, after one run that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        started_ns = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - started_ns) / 1e6)
    return statistics.median(taken)


def _onnx_ms(operator: str, left: type[np.generic], right: type[np.generic], cores: int, repeats: int) -> float:
    """Time the product of an input and a constant, as a network has them, on all cores."""
    random = np.random.default_rng(0)
    weight = numpy_helper.from_array(random.integers(0, 99, (_SIDE, _SIDE)).astype(right), "b")
    element = helper.np_dtype_to_tensor_dtype(np.dtype(left))
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", element, [_SIDE, _SIDE])],
        [helper.make_empty_tensor_value_info("c")],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores
    session: Any = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fed = {"a": random.integers(0, 99, (_SIDE, _SIDE)).astype(left)}
    return median_ms(lambda: session.run(None, fed), repeats)


def _bf16_ms(repeats: int) -> float | None:
    """Time the product in bfloat16; ``None`` without OpenVINO, or where it would compute in float32 instead."""
    try:
        import openvino as ov
    except ImportError:
        return None
    engine = ov.Core()
    if "BF16" not in engine.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    side = [_SIDE, _SIDE]
    inputs = [ov.opset13.parameter(side, np.float32, name) for name in ("a", "b")]
    model = ov.Model([ov.opset13.matmul(*inputs, False, False)], inputs, "product")
    request = engine.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"}).create_infer_request()
    fed = [np.random.default_rng(0).random((_SIDE, _SIDE), np.float32) for _ in inputs]
    return median_ms(lambda: request.infer(fed), repeats)


def _write_ms(folder: Path, count: int, repeats: int) -> float:
    path, data = folder / "limit.bin", os.urandom(count)

    def write() -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)

    try:
        return median_ms(write, repeats)
    finally:
        path.unlink(missing_ok=True)
