"""Photo to logits with Pillow and ONNX Runtime, as both document it: every pixel decoded, resized, one run a photo.

For peers whose product is an ONNX file. The resize is Pillow's ``BOX``, the area filter, with which the model was
trained.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import PIL
from PIL import Image, ImageOps

Row = npt.NDArray[np.uint8]

VERSIONS = f"Pillow {PIL.__version__}, ONNX Runtime {ort.__version__}"


class PillowOrt:
    """An ONNX file of ``uint8 (N, px, px, 3)`` in a session with default options, but for the number of threads."""

    def __init__(self, network: Path, threads: int, px: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session: Any = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._px = px

    def __call__(self, photo: bytes) -> Sequence[float]:
        """Return the logits of one photo; ``OSError`` where Pillow cannot decode it."""
        (logits,) = self._session.run(None, {self._input: decode(photo, self._px)[None]})[0]
        return list(map(float, logits))


def decode(photo: bytes, px: int) -> Row:
    """Decode a whole photo, upright: ``uint8 (px, px, 3)`` RGB."""
    with Image.open(io.BytesIO(photo)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    return np.asarray(upright.resize((px, px), Image.Resampling.BOX))
