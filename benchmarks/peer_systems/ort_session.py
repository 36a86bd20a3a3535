"""Runs an ONNX file of a peer in ONNX Runtime with its default options, but for the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader

from benchmarks.peer_systems.system import Job, Logits, Photos, normalised


class OrtRunning:
    """A session whose one input is a normalised image."""

    def __init__(self, path: Path, job: Job) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = job.threads
        options.log_severity_level = 3
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._mean, self._std = np.array(job.mean, np.float32), np.array(job.std, np.float32)

    def ready(self, photo: Photos) -> npt.NDArray[Any]:
        """Normalise and transpose."""
        return normalised(photo, self._mean, self._std)

    def run(self, ready: npt.NDArray[Any]) -> Logits:
        """Run the session."""
        return np.asarray(self._session.run(None, {self._input: ready})[0], np.float32)


class Images(CalibrationDataReader):  # type: ignore[misc]
    """Calibration images one by one, as ONNX Runtime's quantiser reads them."""

    def __init__(self, calibration: Path) -> None:
        self._left: Iterator[npt.NDArray[np.float32]] = iter(np.load(calibration, mmap_mode="r"))

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return the next feed, ``None`` after the last."""
        image = next(self._left, None)
        return None if image is None else {"input": np.array(image)[None]}
