"""ONNX Runtime on the CPU: the engine that every station has, and the artefact of record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from runtime.contracts.errors import StationFault, Unsupported


class OrtNetwork:
    """A session; of a network with one input, the last output is what counts."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [one.name for one in session.get_outputs()]

    def run(self, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one batch through a network of one input and return the last output as ``float32``.

        Raises:
            StationFault: the engine failed; the photos are not to blame.
        """
        (output,) = self._run(self._outputs[-1:], {self._input: batch})
        return np.asarray(output, np.float32)

    def run_all(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run one feed and return every output by its name.

        Args:
            feeds: input name to array.

        Raises:
            StationFault: the engine failed, or a feed is not what the network takes.
        """
        return dict(zip(self._outputs, self._run(self._outputs, feeds), strict=True))

    def _run(self, outputs: list[str], feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        try:
            found: list[npt.NDArray[Any]] = self._session.run(outputs, dict(feeds))
        except Exception as error:  # its errors share no other base
            what = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
            raise StationFault(f"network: ONNX Runtime cannot run {what}: {error}") from error
        return found


def load(path: Path, threads: int) -> OrtNetwork:
    """Load an ONNX file for the CPU.

    Args:
        path: the model.
        threads: intra-op threads; 0 lets the engine choose.

    Raises:
        Unsupported: ONNX Runtime refuses the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no other base
        raise Unsupported(f"network {path.name}: ONNX Runtime refuses it: {error}") from error
    return OrtNetwork(session)
