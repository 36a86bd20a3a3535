from __future__ import annotations

import functools
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from optimize.risk import (
    Budget,
    allowed_misses,
    auc,
    certify,
    items_needed,
    ladder,
    misses_below,
    p_value,
    power,
    rate,
    upper_bound,
)

TWO_PERCENT = Budget(max_missed=0.02, alpha=0.05)

budgets = st.builds(Budget, max_missed=st.floats(0.005, 0.5), alpha=st.floats(0.005, 0.2))
unit_scores = st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=60).map(np.array)


def test_no_miss_among_149_counterfeits_proves_two_percent_and_148_do_not() -> None:
    assert upper_bound(0, 149, 0.05) <= 0.02 < upper_bound(0, 148, 0.05)
    assert items_needed(TWO_PERCENT) == 149
    assert certify([(0.1, 0)], 149, TWO_PERCENT).certified
    short = certify([(0.1, 0)], 148, TWO_PERCENT)
    assert not short.certified
    assert (short.threshold, short.upper_bound, short.more_counterfeits) == (0.0, 1.0, 1)


@pytest.mark.parametrize(("misses", "needed"), [(0, 149), (1, 236), (2, 313)])
def test_misses_want_more_items(misses: int, needed: int) -> None:
    assert items_needed(TWO_PERCENT, misses) == needed
    assert allowed_misses(needed, TWO_PERCENT) == misses
    assert allowed_misses(needed - 1, TWO_PERCENT) == misses - 1


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (5, 10, 0.1871, 0.8129),
        (1, 20, 0.0013, 0.2487),
        (10, 10, 0.6915, 1.0),
        (4, 400, 0.0027, 0.0254),
    ],
)
def test_intervals_are_those_of_clopper_and_pearson(count: int, n: int, low: float, high: float) -> None:
    found = rate(count, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.value == count / n


def test_nothing_measured_is_no_knowledge() -> None:
    nothing = rate(0, 0)
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0.0, 1.0)
    assert upper_bound(0, 0, 0.05) == 1.0
    assert not certify([(0.1, 0)], 0, TWO_PERCENT).certified


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.5, 0.999))
def test_an_interval_holds_its_estimate_and_agrees_with_scipy(count: int, n: int, confidence: float) -> None:
    count = min(count, n)
    found = rate(count, n, confidence)
    exact = stats.binomtest(count, n).proportion_ci(confidence, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert found.low <= found.value <= found.high


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(1, 600), budgets)
def test_the_bound_and_the_p_value_say_the_same(misses: int, n: int, budget: Budget) -> None:
    misses = min(misses, n)
    bound = upper_bound(misses, n, budget.alpha)
    if abs(bound - budget.max_missed) > 1e-9:
        assert (bound <= budget.max_missed) == (p_value(misses, n, budget.max_missed) <= budget.alpha)


@settings(deadline=None)
@given(st.integers(0, 12), budgets)
def test_the_needed_number_is_the_smallest_that_proves_the_budget(misses: int, budget: Budget) -> None:
    needed = items_needed(budget, misses)
    assert p_value(misses, needed, budget.max_missed) <= budget.alpha < p_value(misses, needed - 1, budget.max_missed)


@settings(deadline=None)
@given(st.integers(0, 400), budgets)
def test_the_allowed_misses_are_the_most_that_prove_the_budget(n: int, budget: Budget) -> None:
    allowed = allowed_misses(n, budget)
    assert allowed == -1 or p_value(allowed, n, budget.max_missed) <= budget.alpha
    assert allowed >= n or p_value(allowed + 1, n, budget.max_missed) > budget.alpha


def test_the_power_is_what_the_design_promises() -> None:
    assert power(149, TWO_PERCENT, 0.005) == pytest.approx(0.474, abs=0.001)  # "half of the time"
    assert power(313, TWO_PERCENT, 0.005) == pytest.approx(0.79, abs=0.01)  # "four times in five"
    assert power(148, TWO_PERCENT, 0.0) == 0.0


@pytest.mark.parametrize(("n", "true_rate"), [(149, 0.005), (313, 0.005), (500, 0.01), (60, 0.02)])
def test_the_power_is_how_often_a_simulated_test_passes(n: int, true_rate: float) -> None:
    draws = np.random.default_rng(5).binomial(n, true_rate, 4000)
    passed = np.mean([rungs_held((int(misses),), n, TWO_PERCENT) for misses in draws])
    assert power(n, TWO_PERCENT, true_rate) == pytest.approx(passed, abs=0.03)


def test_a_certificate_states_the_power_at_a_quarter_of_the_budget() -> None:
    assert certify([(0.1, 0)], 149, TWO_PERCENT).power == power(149, TWO_PERCENT, 0.005)


def test_testing_goes_from_the_strictest_rung_and_stops_at_the_first_failure() -> None:
    found = certify([(0.1, 0), (0.2, 1), (0.3, 9), (0.4, 0)], 300, TWO_PERCENT)
    assert [(rung.threshold, rung.holds) for rung in found.rungs] == [(0.1, True), (0.2, True), (0.3, False)]
    assert (found.certified, found.threshold, found.misses, found.more_counterfeits) == (True, 0.2, 1, 0)
    assert found.upper_bound == upper_bound(1, 300, 0.05)


def test_a_strictest_rung_that_fails_ends_the_test_whatever_follows() -> None:
    found = certify([(0.1, 9), (0.2, 0)], 300, TWO_PERCENT)
    assert not found.certified
    assert found.threshold == 0.0
    assert len(found.rungs) == 1


def test_what_is_not_proved_says_how_many_more_counterfeits_it_wants() -> None:
    assert certify([(0.1, 0)], 9, Budget(max_missed=0.001, alpha=0.05)).more_counterfeits == 2995 - 9
    assert certify([(0.1, 2)], 100, TWO_PERCENT).more_counterfeits == 313 - 100
    assert certify([], 100, TWO_PERCENT).more_counterfeits == 49


@settings(deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=6), st.integers(1, 500), budgets)
def test_a_certificate_is_the_last_rung_before_the_first_failure(misses: list[int], n: int, budget: Budget) -> None:
    tested = [(0.1 * (place + 1), min(sum(misses[: place + 1]), n)) for place in range(len(misses))]
    found = certify(tested, n, budget)
    holding = [threshold for threshold, missed in tested if p_value(missed, n, budget.max_missed) <= budget.alpha]
    # misses rise with the threshold, so those that hold are a beginning of the ladder
    assert found.certified == bool(holding)
    assert found.threshold == (holding[-1] if holding else 0.0)
    assert found.certified == (found.more_counterfeits == 0)
    if found.certified:
        assert found.upper_bound <= budget.max_missed + 1e-12


@functools.cache
def rungs_held(misses: tuple[int, ...], n: int, budget: Budget) -> int:
    """How far up a ladder with these misses the certificate goes; remembered, as trials repeat."""
    found = certify([(float(place), missed) for place, missed in enumerate(misses, 1)], n, budget)
    assert found.certified == (found.threshold > 0)
    return int(found.threshold)


def false_claims(ladder_of_rates: list[float], n: int, budget: Budget, trials: int, seed: int) -> float:
    """Share of trials in which a model with these true missed rates, rung by rung, gets a certificate."""
    random = np.random.default_rng(seed)
    claims = 0
    for _ in range(trials):
        scores = random.random(n)  # a counterfeit's score is uniform: its missed rate below t is t
        claims += rungs_held(tuple(misses_below(t, scores) for t in ladder_of_rates), n, budget) > 0
    return claims / trials


@pytest.mark.parametrize(
    ("rates", "n"), [([0.0201, 0.0202, 0.021, 0.03], 149), ([0.0201] * 6, 313), ([0.021, 0.05, 0.1], 500)]
)
def test_a_model_that_breaks_the_budget_at_every_rung_is_certified_at_most_at_the_error_level(
    rates: list[float], n: int
) -> None:
    trials = 2000
    allowed = TWO_PERCENT.alpha + 3 * math.sqrt(TWO_PERCENT.alpha * (1 - TWO_PERCENT.alpha) / trials)
    share = false_claims(rates, n, TWO_PERCENT, trials, seed=11)
    assert 0 < share <= allowed


def certified_threshold(random: np.random.Generator, budget: Budget) -> float:
    seen, fresh = random.random(80), random.random(120)
    rungs = ladder(seen, budget.max_missed)
    return (0.0, *rungs)[rungs_held(tuple(misses_below(t, fresh) for t in rungs), fresh.size, budget)]


def test_a_ladder_chosen_on_calibrate_and_tested_on_certify_keeps_the_error_level() -> None:
    """The claim as it is used, with thresholds that data chose: it is false if their true rate is over the budget."""
    budget, trials = Budget(max_missed=0.05, alpha=0.05), 1500
    random = np.random.default_rng(3)
    found = np.array([certified_threshold(random, budget) for _ in range(trials)])
    wrong = (found > budget.max_missed).sum()  # scores are uniform: the missed rate below t is t
    assert (found > 0).sum() > trials / 2
    assert 0 < wrong / trials <= budget.alpha + 3 * math.sqrt(budget.alpha * (1 - budget.alpha) / trials)


@settings(deadline=None)
@given(unit_scores, st.floats(0.001, 1.0))
def test_a_ladder_rises_and_starts_below_every_counterfeit_seen(scores: np.ndarray, max_missed: float) -> None:
    rungs = ladder(scores, max_missed)
    assert all(low < high for low, high in pairwise(rungs))
    assert all(0.0 < rung < 1.0 for rung in rungs)
    below = [rung for rung in rungs if rung < scores.min()]
    assert len(below) >= 3
    assert rungs[len(below)] == scores.min()  # the next one is the least score itself, which it does not miss
    assert misses_below(rungs[-1], scores) <= 1.5 * max_missed * scores.size


def test_a_ladder_lets_through_one_more_counterfeit_a_rung_as_far_as_one_and_a_half_times_the_budget() -> None:
    scores = np.linspace(0.2, 0.9, 200)
    rungs = ladder(scores, 0.02)
    assert [misses_below(rung, scores) for rung in rungs if rung >= 0.2] == [0, 1, 2, 3, 4, 5, 6]


def test_a_larger_budget_never_shortens_the_ladder() -> None:
    scores = np.random.default_rng(0).random(100)
    ladders = [ladder(scores, max_missed) for max_missed in (0.001, 0.01, 0.05, 0.2, 1.0)]
    for short, long in pairwise(ladders):
        assert long[: len(short)] == short


def test_without_counterfeits_there_is_no_ladder() -> None:
    assert ladder(np.array([]), 0.02) == ()


def test_a_score_on_the_threshold_is_not_missed() -> None:
    assert misses_below(0.5, np.array([0.5, np.nextafter(0.5, 0), 0.7])) == 1


def test_the_area_under_the_curve_counts_ties_half() -> None:
    assert auc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1.0
    assert auc(np.array([0.1]), np.array([0.9])) == 0.0
    assert auc(np.array([0.5, 0.5]), np.array([0.5])) == 0.5
    assert auc(np.array([0.3, 0.6]), np.array([0.1, 0.4, 0.6])) == pytest.approx((1 + 2.5) / 6)
    assert auc(np.array([]), np.array([0.5])) is None
    assert auc(np.array([0.5]), np.array([])) is None
