"""Whether two runs of the same inputs agree. Compares numbers; decides nothing about kinds, batches or files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimize.sources.photo_input import Ending

MAX_ERROR_OF_SCALE = 1e-3
MIN_COSINE = 0.9999
ROUNDING = 1e-6
"""Errors below it are float32's own, whatever the scale."""

Arrays = Sequence[npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two runs are apart; ``problem`` is in words, ``None`` where they agree."""

    max_abs_error: float
    cosine: float
    problem: str | None


def compare(ours: Sequence[Arrays], theirs: Sequence[Arrays]) -> Agreement:
    """Compare outputs, feed by feed, each output over all feeds at once.

    Args:
        ours: for each feed, the outputs of the import.
        theirs: for each feed, those of its source.
    """
    error, cosine = 0.0, 1.0
    for index, (a_feeds, b_feeds) in enumerate(zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True), 1):
        for a, b in zip(a_feeds, b_feeds, strict=True):
            if a.shape != b.shape:
                return Agreement(
                    max_abs_error=np.inf,
                    cosine=0.0,
                    problem=f"output {index} has shape {a.shape}, the source gives {b.shape}",
                )
        one = _compare_values(_flat(a_feeds), _flat(b_feeds))
        error, cosine = max(error, one.max_abs_error), min(cosine, one.cosine)
        if one.problem:
            return Agreement(max_abs_error=error, cosine=cosine, problem=f"output {index} {one.problem}")
    return Agreement(max_abs_error=error, cosine=cosine, problem=None)


def activate(logits: npt.NDArray[np.generic], ending: Ending | None) -> npt.NDArray[np.float64]:
    """Apply what was cut off: logits ``(N, K)`` to what the source gives."""
    z = logits.astype(np.float64)
    if ending is None:
        return z
    if ending == "Sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(z / 2)), np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(log if ending == "LogSoftmax" else np.exp(log), np.float64)


def _flat(arrays: Arrays) -> npt.NDArray[np.float64]:
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays])


def _compare_values(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> Agreement:
    if np.isnan(b).any():
        return Agreement(max_abs_error=np.inf, cosine=0.0, problem="of the source is NaN on these inputs")
    finite = np.isfinite(b)
    if not np.array_equal(np.where(finite, 0.0, b), np.where(np.isfinite(a), 0.0, a)):
        return Agreement(max_abs_error=np.inf, cosine=0.0, problem="is NaN or infinite where the source is not")
    a, b = a[finite], b[finite]
    scale = float(np.abs(b).max(initial=0.0))
    error = float(np.abs(a - b).max(initial=0.0))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = min(1.0, float(a @ b) / norms) if norms > 0 else 1.0
    problem = None
    if error > max(MAX_ERROR_OF_SCALE * scale, ROUNDING) or (cosine < MIN_COSINE and error > ROUNDING):
        problem = f"differs by {error:.3g} at a scale of {scale:.3g} (cosine {cosine:.6f})"
    return Agreement(max_abs_error=error, cosine=cosine, problem=problem)
