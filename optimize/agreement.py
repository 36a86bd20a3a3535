"""Whether what ships agrees with what was judged: both run on a few calibration rows, through ONNX Runtime here.

For targets whose own engine cannot judge every item. Never decides what an item is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from optimize.samples import Feed, Samples
from runtime.contracts.errors import Unsupported

ROWS = 4
NEEDED_COSINE = 0.999
MOST_ERROR = 0.05
"""Of the outputs' own length: a cosine alone is blind to a factor."""

Outputs = Mapping[str, npt.NDArray[np.generic]]
"""Output name to array."""

_LEAST_ROW = 8  # with fewer values a row has no direction to speak of: a single logit's cosine is 1 or -1


def open_session(path: Path, *, as_on_arm: bool = False) -> ort.InferenceSession:
    """Load a network on the CPU.

    Args:
        path: ONNX or ``.ort``.
        as_on_arm: run signed activations in integer kernels, as ARM does by default and x86 does not.

    Raises:
        Unsupported: ONNX Runtime refuses the file.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.qdqisint8allowed", "1" if as_on_arm else "0")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no other base
        raise Unsupported(f"network {path.name}: ONNX Runtime refuses it: {' '.join(str(error).split())}") from error


def run_all(session: ort.InferenceSession, feed: Feed) -> Outputs:
    """Return every output of a network.

    Raises:
        Unsupported: ONNX Runtime cannot run it on this feed.
    """
    names = [output.name for output in session.get_outputs()]
    try:
        return {name: np.asarray(one) for name, one in zip(names, session.run(names, dict(feed)), strict=True)}
    except Exception as error:  # its errors share no other base
        raise Unsupported(f"network: ONNX Runtime cannot run it: {' '.join(str(error).split())}") from error


def first_rows(samples: Samples, session: ort.InferenceSession) -> Feed:
    """Return the first feed, cut to four rows where the network leaves the number of rows of every input open."""
    feed = next(samples.read(1))
    sizes = {array.shape[0] if array.ndim else 0 for array in feed.values()}
    open_batch = all(declared.shape and not isinstance(declared.shape[0], int) for declared in session.get_inputs())
    if not open_batch or len(sizes) != 1:
        return feed
    return {name: np.ascontiguousarray(array[:ROWS]) for name, array in feed.items()}


def disagreements(got: Outputs, expected: Outputs, of: str) -> list[str]:
    """Compare two runs of the same rows.

    Args:
        got: what ships gave.
        expected: what was judged gave.
        of: what ships, for the refusals.

    Returns:
        A refusal in words for each output that differs too much.
    """
    missing = sorted(set(expected) - set(got))
    if missing:
        return [f"agreement: {of} has no output {missing[0]!r}, which was judged; build again"]
    return [word for name in sorted(expected) for word in _differs(name, got[name], expected[name], of)]


def _differs(name: str, got: npt.NDArray[np.generic], expected: npt.NDArray[np.generic], of: str) -> list[str]:
    if got.dtype.kind not in "biuf" or expected.dtype.kind not in "biuf":
        same = np.array_equal(got, expected)
        return [] if same else [f"agreement: output {name!r} of {of} is not what was judged; build again"]
    if got.shape != expected.shape:
        return [f"agreement: output {name!r} of {of} has shape {got.shape}, {expected.shape} was judged; build again"]
    a, b = _rows(got), _rows(expected)
    if not np.isfinite(a).all() and np.isfinite(b).all():
        return [f"agreement: output {name!r} of {of} is not finite where what was judged is; keep its precision higher"]
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    gap = np.linalg.norm(a - b, axis=1)
    tiny = np.finfo(np.float64).tiny
    cosine = np.where(gap == 0, 1.0, (a * b).sum(axis=1) / np.maximum(lengths[0] * lengths[1], tiny))
    relative = gap / np.maximum(lengths[1], tiny)
    if float(cosine.min(initial=1.0)) >= NEEDED_COSINE and float(relative.max(initial=0.0)) <= MOST_ERROR:
        return []
    return [
        f"agreement: output {name!r} of {of} is not what was judged: cosine {cosine.min():.4f} (needs "
        f"{NEEDED_COSINE}), error {relative.max():.1%} of its length (at most {MOST_ERROR:.0%}), "
        f"greatest {np.abs(a - b).max():.3g}"
    ]


def _rows(array: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    values = array.astype(np.float64)
    if values.ndim > 1 and values[0].size >= _LEAST_ROW:
        return values.reshape(values.shape[0], -1)
    return values.reshape(1, -1)
