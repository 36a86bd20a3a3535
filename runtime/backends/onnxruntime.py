"""ONNX Runtime on the CPU: the engine that every station has, and the artefact of record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from runtime.contracts.errors import StationFault, Unsupported


class OrtNetwork:
    """A session with one input; its last output is what counts."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[-1].name

    def run(self, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one batch and return the last output as ``float32``.

        Raises:
            StationFault: the engine failed; the photos are not to blame.
        """
        try:
            (output,) = self._session.run([self._output], {self._input: batch})
        except Exception as error:  # its errors share no other base
            raise StationFault(f"network: ONNX Runtime cannot run {batch.dtype} {batch.shape}: {error}") from error
        return np.asarray(output, np.float32)


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
