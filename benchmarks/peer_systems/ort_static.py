"""ONNX Runtime's ``quantize_static`` as its documentation says to begin: pre-process, then the defaults (S8S8 QDQ)."""

from __future__ import annotations

from onnxruntime.quantization import quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.peer_systems.ort_session import Images, OrtRunning
from benchmarks.peer_systems.system import Job, Product, Running, product_of


def compile_network(job: Job) -> Product:
    """Quantise with MinMax over all calibration images."""
    ready, out = job.folder / "preprocessed.onnx", job.folder / "model.onnx"
    quant_pre_process(job.network, ready)
    quantize_static(ready, out, Images(job.calibration))
    return product_of(out, "QDQ, S8S8, per tensor, MinMax")


def load(product: Product, job: Job) -> Running:
    """Load the file."""
    return OrtRunning(product.path, job)
