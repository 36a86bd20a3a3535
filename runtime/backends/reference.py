"""ONNX in plain numpy, node by node: the oracle that the engines are held against, and too slow to serve.

Never chosen by a station of itself: it runs a variant that names ``reference``, and no target makes one. Needs the
``onnx`` package, which a station has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

from runtime.contracts.errors import StationFault, Unsupported


class ReferenceNetwork:
    """A network that numpy runs node by node; of a network with one input, the last output is what counts."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._evaluator = ReferenceEvaluator(model)
        weights = {one.name for one in model.graph.initializer}
        self._inputs = {one.name: one.type.tensor_type for one in model.graph.input if one.name not in weights}
        self._outputs = [one.name for one in model.graph.output]

    def run(self, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one batch through a network of one input and return the last output as ``float32``.

        Raises:
            StationFault: numpy failed, or the batch is not what the network takes.
        """
        outputs = self.run_all(dict.fromkeys(self._inputs, batch))
        return np.asarray(outputs[self._outputs[-1]], np.float32)

    def run_all(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run one feed and return every output by its name.

        Args:
            feeds: input name to array.

        Raises:
            StationFault: numpy failed, or a feed is not what the network takes.
        """
        given = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
        if set(feeds) != set(self._inputs) or not all(_takes(self._inputs[name], feeds[name]) for name in feeds):
            takes = ", ".join(f"{name} {_words(kind)}" for name, kind in self._inputs.items())
            raise StationFault(f"network: expected {takes}, got {given}; this is a defect of the program that feeds it")
        try:
            with np.errstate(all="ignore"):  # NaN and infinity come out as they are
                found = self._evaluator.run(None, dict(feeds))
        except Exception as error:  # its errors share no other base
            raise StationFault(f"network: numpy cannot run {given}: {error}") from error
        return {name: np.array(array) for name, array in zip(self._outputs, found, strict=True)}


def load(path: Path, threads: int) -> ReferenceNetwork:
    """Load an ONNX file.

    Args:
        path: the model.
        threads: as for other engines; numpy takes no notice.

    Raises:
        Unsupported: it is no valid ONNX, or has an operator that the reference does not know.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        return ReferenceNetwork(model)
    except Exception as error:  # its errors share no other base
        reason = " ".join(str(error).split())[:300]
        raise Unsupported(f"network {path.name}: the ONNX reference refuses it: {reason}") from error


def _takes(kind: onnx.TypeProto.Tensor, array: npt.NDArray[Any]) -> bool:
    dims = kind.shape.dim
    return (
        array.dtype == onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        and array.ndim == len(dims)
        and all(dim.dim_value in (0, side) for dim, side in zip(dims, array.shape, strict=True))  # 0: may vary
    )


def _words(kind: onnx.TypeProto.Tensor) -> str:
    dims = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in kind.shape.dim)
    return f"{onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)} ({dims})"
