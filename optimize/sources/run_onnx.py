"""ONNX Runtime as the judge of imports: which operators it has, whether it loads a network, and what that gives.

The only file of the sources that imports it. Never quantises and never times; what a station runs is in ``runtime``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from optimize.samples import Feed
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.errors import Unsupported

VERSION: str = ort.__version__

_DTYPES: Mapping[str, str] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


class Session:
    """A network that ONNX Runtime has loaded on the CPU."""

    def __init__(self, session: ort.InferenceSession, name: str) -> None:
        self._session = session
        self.name = name

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return what the network takes.

        Raises:
            Unsupported: an input is no tensor of numbers.
        """
        return tuple(self._spec(one, "input") for one in self._session.get_inputs())

    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return what the network gives.

        Raises:
            Unsupported: an output is no tensor of numbers.
        """
        return tuple(self._spec(one, "output") for one in self._session.get_outputs())

    def run(self, feed: Feed) -> list[npt.NDArray[np.generic]]:
        """Run one feed and return all outputs in order.

        Raises:
            Unsupported: ONNX Runtime cannot run it.
        """
        try:
            return [np.asarray(output) for output in self._session.run(None, dict(feed))]
        except Exception as error:  # its errors share no other base
            shapes = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feed.items())
            raise Unsupported(f"{self.name}: ONNX Runtime cannot run {shapes}: {one_line(error)}") from error

    def _spec(self, one: ort.NodeArg, side: str) -> TensorSpec:
        if one.type not in _DTYPES:
            raise Unsupported(
                f"{self.name}: {side} {one.name!r} is {one.type}, expected a tensor of numbers (float of 16 to 64 "
                "bits, integer of 8 to 64, bool); export it so (for scikit-learn: zipmap=False, or give the estimator)"
            )
        shape = tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in one.shape)
        return TensorSpec(name=one.name, dtype=_DTYPES[one.type], shape=shape)


def open_session(model: bytes | Path, name: str) -> Session:
    """Load a network on the CPU.

    Args:
        model: serialised, or a file with its external data beside it.
        name: what messages call it.

    Raises:
        Unsupported: ONNX Runtime refuses it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what it has to say comes back as an exception
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no other base
        raise Unsupported(f"{name}: ONNX Runtime {VERSION} refuses it: {one_line(error)}") from error
    return Session(session, name)


@cache
def known_operators() -> frozenset[tuple[str, str]]:
    """Return (domain, operator) of all that ONNX Runtime knows; the domain of ONNX itself is empty."""
    return frozenset((schema.domain, schema.name) for schema in get_all_operator_schema())


def one_line(error: BaseException) -> str:
    """Return a library's error as one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
