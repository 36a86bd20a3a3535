"""Latencies of networks, interleaved in one run: A B A B, so that a machine whose speed drifts slows both alike."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.engine import Network

WARM_UP = 5


def interleaved_us(
    networks: Sequence[Network], batch: npt.NDArray[np.uint8], rounds: int = 100
) -> npt.NDArray[np.float64]:
    """Time every network once a round.

    Returns:
        Microseconds, ``float64 (len(networks), rounds)``.
    """
    taken = np.empty((len(networks), rounds))
    for turn in range(-WARM_UP, rounds):
        for index, network in enumerate(networks):
            started = time.perf_counter_ns()
            network.run(batch)
            if turn >= 0:
                taken[index, turn] = (time.perf_counter_ns() - started) / 1000
    return taken


def median_ratio(a_us: npt.NDArray[np.float64], b_us: npt.NDArray[np.float64]) -> float:
    """Return median(a) / median(b)."""
    return float(np.median(a_us) / np.median(b_us))
