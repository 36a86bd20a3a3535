from __future__ import annotations

import pytest

from benchmarks.latency import figures
from benchmarks.latency.children import Reply
from benchmarks.latency.load import Taken
from benchmarks.latency.scenarios import Phase


def taken(at_s: float, latency_ms: float, rss_mb: float = 100.0) -> Taken:
    return Taken(number=0, at_s=at_s, latency_ms=latency_ms, reply=Reply(rss_mb=rss_mb))


def test_the_longest_queue_counts_what_is_due_and_not_there_yet() -> None:
    assert figures.queue_most([taken(0, 2500), taken(1, 2500), taken(2, 100), taken(4, 100)]) == 3
    assert figures.queue_most([taken(0, 100), taken(1, 100)]) == 1


def test_a_surge_tells_what_slowed_and_when_it_was_over() -> None:
    phases = [Phase(rate_per_s=1, count=2), Phase(rate_per_s=10, count=3), Phase(rate_per_s=1, count=6)]
    latencies = [50, 50, 100, 200, 300, 250, 90, 60, 50, 50, 400]  # the last has another cause
    moments = [0, 1, 2, 2.1, 2.2, 3, 4, 5, 6, 7, 100]
    found = figures.surge([taken(at, ms) for at, ms in zip(moments, latencies, strict=True)], phases)
    assert found["before_p50_ms"] == 50
    assert found["surge_p50_ms"] == 200
    assert found["surge_slowest_ms"] == 300
    assert found["recovered_s"] == pytest.approx(4 - 2.2)


def test_a_system_that_does_not_recover_has_no_time_for_it() -> None:
    phases = [Phase(rate_per_s=1, count=1), Phase(rate_per_s=10, count=1), Phase(rate_per_s=1, count=2)]
    assert "recovered_s" not in figures.surge([taken(at, ms) for at, ms in enumerate((50, 900, 900, 900))], phases)


def test_memory_that_grows_after_settling_is_growth_and_before_it_is_not() -> None:
    settles = [taken(n, 1, rss_mb=100 + min(n, 500) / 10) for n in range(2000)]
    assert figures.soak(settles)["growth_mb"] == 0
    leaks = [taken(n, 1, rss_mb=100 + n / 100) for n in range(2000)]
    found = figures.soak(leaks)
    assert found["growth_mb"] == pytest.approx(14, abs=0.1)
    assert found["settled_after"] == 500
    assert found["rss_mb_at_1"] == 100


def test_throughput_is_the_inverse_of_the_mean() -> None:
    assert figures.offline([taken(0, 100), taken(1, 300)], views=6) == {"verdicts_per_s": 5.0, "photos_per_s": 30.0}
