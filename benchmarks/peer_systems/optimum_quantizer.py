"""Optimum's ``ORTQuantizer``, static, with its own configuration: AVX512-VNNI where the CPU has VNNI, else AVX2.

Calibration is MinMax, as in its documentation's example; only its data set is an array instead of a download.
"""

from __future__ import annotations

import numpy as np
from onnxruntime.quantization import CalibrationMethod
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig, CalibrationConfig
from transformers import PretrainedConfig

from benchmarks.peer_systems.ort_session import OrtRunning
from benchmarks.peer_systems.system import Job, Product, Running, product_of
from runtime.engine import cpu_flags

_VNNI = {"avx512_vnni", "avx_vnni"}


def compile_network(job: Job) -> Product:
    """Calibrate and quantise."""
    images = np.load(job.calibration, mmap_mode="r")
    configure, name = (
        (AutoQuantizationConfig.avx512_vnni, "avx512_vnni")
        if _VNNI & cpu_flags()
        else (AutoQuantizationConfig.avx2, "avx2")
    )
    chosen = configure(is_static=True)
    calibration = CalibrationConfig(
        dataset_name="photos",
        dataset_config_name="default",
        dataset_split="train",
        dataset_num_samples=len(images),
        method=CalibrationMethod.MinMax,
    )
    quantizer = ORTQuantizer(job.network, config=PretrainedConfig())
    ranges = quantizer.fit(
        dataset=[{"input": np.array(image)} for image in images],
        calibration_config=calibration,
        onnx_augmented_model_name=job.folder / "augmented.onnx",
        operators_to_quantize=chosen.operators_to_quantize,
    )
    quantizer.quantize(quantization_config=chosen, save_dir=job.folder / "out", calibration_tensors_range=ranges)
    (made,) = (job.folder / "out").glob("*.onnx")
    return product_of(made, f"AutoQuantizationConfig.{name}(is_static=True), MinMax")


def load(product: Product, job: Job) -> Running:
    """Load the file."""
    return OrtRunning(product.path, job)
