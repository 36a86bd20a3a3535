"""Times several systems in one process, interleaved, and compares their medians with a bootstrap interval.

Each round runs every system once on one photo, in an order drawn anew, so that a machine whose speed drifts slows all
alike and nobody always follows the same neighbour. A short rest lets the thread pool of the one before stop spinning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.peer_systems.system import Photos, Running

WARM_UP = 10
RESAMPLES = 2000

Times = npt.NDArray[np.float64]
"""Milliseconds by round, ``float64 (rounds,)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """``network_ms`` from the network's own input to logits, ``photo_ms`` from the ``uint8`` photo to logits."""

    network_ms: Times
    photo_ms: Times


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Median over the baseline's median, with the ends of its 95 % bootstrap interval; below 1 is faster."""

    value: float
    low: float
    high: float


def time_rounds(
    systems: Mapping[str, Running], photos: Sequence[Photos], rounds: int, *, seed: int, rest_s: float
) -> dict[str, Timing]:
    """Time every system once a round.

    Args:
        systems: loaded networks by name.
        photos: each ``uint8 (1, H, W, 3)``; one a round, in turn.
        rounds: to count, after ``WARM_UP`` that are not.
        seed: of the orders.
        rest_s: to wait before every run.
    """
    names, random = list(systems), np.random.default_rng(seed)
    network, whole = np.empty((len(names), rounds)), np.empty((len(names), rounds))
    for turn in range(-WARM_UP, rounds):
        photo = photos[turn % len(photos)]
        for index in random.permutation(len(names)):
            system = systems[names[index]]
            time.sleep(rest_s)
            started = time.perf_counter_ns()
            ready = system.ready(photo)
            between = time.perf_counter_ns()
            system.run(ready)
            ended = time.perf_counter_ns()
            if turn >= 0:
                network[index, turn], whole[index, turn] = (ended - between) / 1e6, (ended - started) / 1e6
    return {name: Timing(network_ms=network[index], photo_ms=whole[index]) for index, name in enumerate(names)}


def median_ratio(of: Times, baseline: Times, *, seed: int) -> Ratio:
    """Compare two systems' medians; rounds are resampled in pairs, as they were taken.

    Source of the interval: Efron's percentile bootstrap.
    """
    drawn = np.random.default_rng(seed).integers(0, len(of), (RESAMPLES, len(of)))
    ratios = np.median(of[drawn], axis=1) / np.median(baseline[drawn], axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Ratio(value=float(np.median(of) / np.median(baseline)), low=float(low), high=float(high))


def top1(system: Running, photos: Sequence[Photos]) -> npt.NDArray[np.int64]:
    """Return the greatest class of every photo, ``int64 (len(photos),)``."""
    return np.array([int(np.argmax(system.run(system.ready(photo)))) for photo in photos], np.int64)
