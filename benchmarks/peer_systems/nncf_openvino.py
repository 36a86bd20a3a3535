"""NNCF's ``quantize`` with all its defaults, run by OpenVINO."""

from __future__ import annotations

import nncf
import numpy as np
import openvino as ov

from benchmarks.peer_systems.openvino_default import OpenVinoRunning
from benchmarks.peer_systems.system import Job, Product, Running, product_of


def compile_network(job: Job) -> Product:
    """Quantise over all calibration images."""
    images = np.load(job.calibration, mmap_mode="r")
    data = nncf.Dataset(list(range(len(images))), lambda index: np.array(images[index])[None])
    quantised = nncf.quantize(ov.convert_model(job.network), data)
    ov.save_model(quantised, job.folder / "model.xml", compress_to_fp16=False)
    return product_of(job.folder, "nncf.quantize, defaults")


def load(product: Product, job: Job) -> Running:
    """Compile the model for this CPU."""
    return OpenVinoRunning(product.path / "model.xml", job)
