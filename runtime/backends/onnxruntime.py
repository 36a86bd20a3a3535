"""ONNX Runtime on the CPU: the engine that every station has, and the artefact of record. Never calls home."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.telemetry import keep_home
from runtime.contracts.errors import StationFault, Unsupported

keep_home()

import onnxruntime as ort  # noqa: E402 - its own import is what would call home


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


def session_options(threads: int) -> ort.SessionOptions:
    """Return the settings of a machine that also runs a camera and a page; ADR 14 has the measurements.

    Args:
        threads: intra-op threads; 0 lets the engine choose, which also pins them to cores.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False  # a planned block for every batch size seen, kept for good
    options.log_severity_level = 3
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    return options


def load(path: Path, threads: int) -> OrtNetwork:
    """Load an ONNX file for the CPU.

    Args:
        path: the model.
        threads: intra-op threads; 0 lets the engine choose.

    Raises:
        Unsupported: ONNX Runtime refuses the file.
    """
    try:
        session = ort.InferenceSession(path, session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no other base
        raise Unsupported(f"network {path.name}: ONNX Runtime refuses it: {error}") from error
    return OrtNetwork(session)
