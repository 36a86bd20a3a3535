"""The shadow's figures, and what they decide."""

from __future__ import annotations

import pytest

from edge_agent.release_facts import Shadowed
from edge_agent.shadow_window import judge_shadow, p99_ms
from edge_agent.watch_window import MOST_FAULTS


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (Shadowed(), "goes on"),
        (Shadowed(compared=49, differing=5), "goes on"),
        (Shadowed(compared=50, differing=5, item_us=(900,) * 50), "passed"),
        (Shadowed(compared=6, differing=6), "failed"),  # it cannot come down to 10 % any more
        (Shadowed(compared=50, item_us=(900,) * 49 + (2_000_000,)), "failed"),
        (Shadowed(compared=200, item_us=(900,) * 198 + (2_000_000,) * 2), "passed"),
        (Shadowed(compared=10, faults=MOST_FAULTS), "goes on"),
        (Shadowed(compared=10, faults=MOST_FAULTS + 1), "failed"),
        (Shadowed(compared=50, dropped=5000), "passed"),
    ],
)
def test_a_shadow_is_judged_by_its_figures(seen: Shadowed, state: str) -> None:
    assert judge_shadow(seen, scans=50, max_disagree=0.1, max_latency_ms=1000).state == state


def test_the_figures_are_the_reason() -> None:
    seen = Shadowed(compared=9, differing=6, dropped=3, item_us=(4000,) * 9, item_us_before=(2000,) * 9)
    assert judge_shadow(seen, scans=50, max_disagree=0.1, max_latency_ms=1000).text == (
        "6 of 9 verdicts differ; 99 % of items within 4 ms, 2 ms by the running model; 0 failures, 3 dropped; at most "
        "10% of 50 verdicts may differ"
    )


def test_no_shadow_is_wanted_and_none_is_missed() -> None:
    assert judge_shadow(Shadowed(), scans=0, max_disagree=0.1, max_latency_ms=1000).state == "passed"


@pytest.mark.parametrize(
    ("values", "p99"),
    [((), 0.0), ((5000,), 5.0), (tuple(range(1000, 101_000, 1000)), 99.0), ((1000,) * 99 + (9,), 1.0)],
)
def test_the_99th_percentile_is_the_nearest_rank(values: tuple[int, ...], p99: float) -> None:
    assert p99_ms(values) == p99
