"""OpenVINO with an NNCF-quantised model: photos decoded by OpenCV as in its samples, compiled with the defaults.

As in "Basic Quantization Flow" (``nncf.quantize`` over a calibration set) and the sample "Hello Classification" (OpenCV
decodes, one synchronous inference). The input is one photo of fixed shape, which its guide on dynamic shapes advises;
the resize is OpenCV's area filter, with which the model was trained.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import openvino as ov

from benchmarks.latency.systems.peer_station import PeerStation, px_of
from benchmarks.latency.systems.protocol import Setup, System, serve
from benchmarks.latency.systems.quantised import quantised

Row = npt.NDArray[np.uint8]


class OpenCvOpenVino:
    """A compiled model of one photo, ``uint8 (1, px, px, 3)``."""

    def __init__(self, network: Path, threads: int, px: int) -> None:
        reader = ov.Core()
        model = reader.read_model(network)
        model.reshape([1, px, px, 3])
        compiled = reader.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads})
        self._request: Any = compiled.create_infer_request()
        self._px = px

    def __call__(self, photo: bytes) -> Sequence[float]:
        """Return the logits of one photo; ``ValueError`` where OpenCV cannot decode it."""
        (logits,) = self._request.infer(decode(photo, self._px)[None], share_inputs=True)[0]
        return list(map(float, logits))


def decode(photo: bytes, px: int) -> Row:
    """Decode a whole photo, upright: ``uint8 (px, px, 3)`` RGB."""
    pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("OpenCV cannot decode the photo")
    small = cv2.resize(pixels, (px, px), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)


def start(setup: Setup) -> System:
    """Quantise, and compile what was made."""
    network = quantised("nncf", setup, decode) / "model.xml"
    versions = f"OpenVINO {version('openvino')}, NNCF {version('nncf')}, OpenCV {cv2.__version__}"
    return PeerStation(setup, OpenCvOpenVino(network, setup.threads, px_of(setup)), f"full decode, INT8; {versions}")


if __name__ == "__main__":
    sys.exit(serve(start, sys.argv[1:]))
