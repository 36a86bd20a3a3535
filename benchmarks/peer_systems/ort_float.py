"""ONNX Runtime on the float network as it was exported: what all others are compared with."""

from __future__ import annotations

import shutil

from benchmarks.peer_systems.ort_session import OrtRunning
from benchmarks.peer_systems.system import Job, Product, Running, product_of


def compile_network(job: Job) -> Product:
    """Copy the network."""
    out = job.folder / "model.onnx"
    shutil.copy(job.network, out)
    return product_of(out, "float32")


def load(product: Product, job: Job) -> Running:
    """Load the file."""
    return OrtRunning(product.path, job)
