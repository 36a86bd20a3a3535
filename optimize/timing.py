"""Latencies of networks, interleaved in one run: A B A B, so that a machine whose speed drifts slows both alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

WARM_UP = 5
ROUNDS = 80
_RESAMPLES = 2000


def interleaved_us(runs: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> npt.NDArray[np.float64]:
    """Time every call once a round.

    Returns:
        Microseconds, ``float64 (len(runs), rounds)``.
    """
    taken = np.empty((len(runs), rounds))
    for turn in range(-WARM_UP, rounds):
        for index, run in enumerate(runs):
            started = time.perf_counter_ns()
            run()
            if turn >= 0:
                taken[index, turn] = (time.perf_counter_ns() - started) / 1000
    return taken


def ratio_interval(
    a_us: npt.NDArray[np.float64], b_us: npt.NDArray[np.float64], seed: int = 7
) -> tuple[float, float, float]:
    """Return median(a) / median(b) with its 95 % percentile-bootstrap interval (Efron 1979), rounds resampled in pairs.

    Args:
        a_us: ``float64 (rounds,)``.
        b_us: of the same rounds.
        seed: of the resampling.
    """
    chosen = np.random.default_rng(seed).integers(0, a_us.size, (_RESAMPLES, a_us.size))
    ratios = np.median(a_us[chosen], axis=1) / np.median(b_us[chosen], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.median(a_us) / np.median(b_us)), float(low), float(high)
