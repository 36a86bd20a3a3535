from __future__ import annotations

import numpy as np
import pytest

from benchmarks.latency.latency_stats import median_interval, percentile, percentiles, queries_needed, ratio_of_medians


@pytest.mark.parametrize(("share", "needed"), [(0.9, 64), (0.99, 662), (0.999, 6636)])
def test_the_counts_are_those_that_mlperf_publishes(share: float, needed: int) -> None:
    assert queries_needed(share) == needed


def test_one_verdict_too_few_and_a_percentile_is_not_told() -> None:
    assert percentile([1.0] * 63, 0.9) is None
    assert percentile([1.0] * 64, 0.9) == 1.0
    assert set(percentiles([1.0] * 100)) == {"p50", "p90"}


def test_a_percentile_is_the_latency_that_so_many_stay_within() -> None:
    latencies = [float(value) for value in range(1000, 0, -1)]
    assert percentile(latencies, 0.9) == 900.0
    assert percentile(latencies, 0.99) == 990.0


def test_the_interval_of_a_ratio_holds_the_true_one_about_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(1), 0
    for _ in range(40):
        slow, fast = random.lognormal(3, 0.2, 200) * 2, random.lognormal(3, 0.2, 150)
        ratio = ratio_of_medians(list(slow), list(fast), seed=7)
        held += ratio.low < 2.0 < ratio.high
        assert 1.6 < ratio.low < ratio.high < 2.5
    assert 34 <= held <= 40  # 38 expected


def test_the_same_seed_gives_the_same_interval() -> None:
    latencies = list(np.random.default_rng(2).random(50))
    assert median_interval(latencies, seed=1) == median_interval(latencies, seed=1)
    assert median_interval(latencies, seed=1) != median_interval(latencies, seed=2)
