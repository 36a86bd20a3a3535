"""Float ONNX to INT8 QDQ for x86 (U8S8, per channel), and proof that the optimised graph really runs in integers.

What counts is the graph after ONNX Runtime's own optimiser: a QDQ file looks quantised even where nothing fused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from calibration_data.dataset import Photo
from optimize.head import HEAD_NODE
from optimize.scoring import CHUNK, Progress
from runtime.preprocess import prepare

CALIBRATION_PHOTOS = 200
NEEDED_COVERAGE = 0.95
VNNI = "avx512_vnni|avx_vnni"

_INTEGER = {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "ConvInteger"}
_FLOAT = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "NhwcFusedConv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of the optimised graph runs in integer kernels; the head is left in float on purpose."""

    integer: int
    floating: int

    @property
    def share(self) -> float:
        """Integer kernels as a share of all that could be."""
        return self.integer / max(self.integer + self.floating, 1)


def quantize(
    model: onnx.ModelProto, photos: Sequence[Photo], px: int, progress: Progress | None = None
) -> onnx.ModelProto:
    """Quantise a model with a head to INT8, calibrated by the range (MinMax) of at most 200 photos.

    Photos are streamed: memory does not grow with their number.

    Raises:
        Unsupported: a photo does not decode.
    """
    step = max(len(photos) // CALIBRATION_PHOTOS, 1)
    chosen = photos[::step][:CALIBRATION_PHOTOS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, folder / "float.onnx")
        quant_pre_process(folder / "float.onnx", folder / "ready.onnx", skip_symbolic_shape=True)
        quantize_static(
            folder / "ready.onnx",
            folder / "int8.onnx",
            _Reader(model.graph.input[0].name, chosen, px, progress),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[HEAD_NODE],
        )
        return onnx.load(folder / "int8.onnx")


def coverage(model: onnx.ModelProto) -> Coverage:
    """Count integer and float kernels in the graph as ONNX Runtime optimises it on this machine."""
    with tempfile.TemporaryDirectory() as name:
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(Path(name) / "optimised.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    kinds = [node.op_type for node in nodes if HEAD_NODE not in node.name]
    return Coverage(integer=sum(k in _INTEGER for k in kinds), floating=sum(k in _FLOAT for k in kinds))


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, photos: Sequence[Photo], px: int, progress: Progress | None) -> None:
        self._batches = self._read(photos, px, progress)
        self._name = name

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}

    @staticmethod
    def _read(photos: Sequence[Photo], px: int, progress: Progress | None) -> Iterator[Any]:
        for start in range(0, len(photos), CHUNK):
            chunk = [photo.path for photo in photos[start : start + CHUNK]]
            yield prepare([path.read_bytes() for path in chunk], px, [str(path) for path in chunk])
            if progress:
                progress(start + len(chunk), len(photos))
