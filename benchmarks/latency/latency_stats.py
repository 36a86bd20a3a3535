"""What a list of latencies can tell: percentiles where there are enough of them, and intervals. Pure; times nothing.

How many are enough is MLPerf's early stopping (LoadGen, ``early_stopping.cc``): so many queries that, were no more than
the percentile's share of all queries within a limit, at most one over it would be seen in only 1 run of 100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.peer_rounds import Ratio

CONFIDENCE = 0.99
SHARES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
"""Percentiles that are ever reported, by name."""

_RESAMPLES = 2000
_MOST_AT_ONCE = 4_000_000


def queries_needed(share: float) -> int:
    """Return the least number of queries from which a percentile may be reported: 64 for 0.9, 662 for 0.99.

    The least ``n`` with ``P(Binomial(n, 1 - share) <= 1) <= 1 - CONFIDENCE``: the Clopper-Pearson bound with one query
    over the limit.
    """
    count = 2
    while share**count + count * (1 - share) * share ** (count - 1) > 1 - CONFIDENCE:
        count += 1
    return count


def percentile(latencies_ms: Sequence[float], share: float) -> float | None:
    """Return the latency that so great a share stays within (nearest rank); ``None`` with too few to say."""
    count = len(latencies_ms)
    if count < queries_needed(share):
        return None
    rank = int(np.ceil(round(share * count, 9)))
    return float(np.sort(np.asarray(latencies_ms, np.float64))[rank - 1])


def percentiles(latencies_ms: Sequence[float]) -> dict[str, float]:
    """Return every percentile of ``SHARES`` that so many latencies support, by name."""
    found = {name: percentile(latencies_ms, share) for name, share in SHARES.items()}
    return {name: value for name, value in found.items() if value is not None}


def median_interval(latencies_ms: Sequence[float], *, seed: int) -> tuple[float, float]:
    """Return the ends of the median's 95 % interval (Efron's percentile bootstrap)."""
    low, high = np.quantile(_medians(latencies_ms, np.random.default_rng(seed)), (0.025, 0.975))
    return float(low), float(high)


def ratio_of_medians(of_ms: Sequence[float], baseline_ms: Sequence[float], *, seed: int) -> Ratio:
    """Compare two systems or two runs; below 1 is faster. Each side is resampled by itself, so lengths may differ."""
    random = np.random.default_rng(seed)
    low, high = np.quantile(_medians(of_ms, random) / _medians(baseline_ms, random), (0.025, 0.975))
    return Ratio(value=float(np.median(of_ms) / np.median(baseline_ms)), low=float(low), high=float(high))


def _medians(values: Sequence[float], random: np.random.Generator) -> npt.NDArray[np.float64]:
    known = np.asarray(values, np.float64)
    resamples = max(200, min(_RESAMPLES, _MOST_AT_ONCE // len(known)))
    drawn = random.integers(0, len(known), (resamples, len(known)))
    return np.asarray(np.median(known[drawn], axis=1), np.float64)
