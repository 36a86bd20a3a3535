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
    admit_groups,
    allowed_misses,
    auc,
    certify,
    genuine_needed,
    items_needed,
    ladder,
    p_value,
    power,
    rate,
    review_bound,
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
        claims += rungs_held(tuple(int((scores < t).sum()) for t in ladder_of_rates), n, budget) > 0
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
    return (0.0, *rungs)[rungs_held(tuple(int((fresh < t).sum()) for t in rungs), fresh.size, budget)]


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
    assert (scores < rungs[-1]).sum() <= 1.5 * max_missed * scores.size


def test_a_ladder_lets_through_one_more_counterfeit_a_rung_as_far_as_one_and_a_half_times_the_budget() -> None:
    scores = np.linspace(0.2, 0.9, 200)
    rungs = ladder(scores, 0.02)
    assert [int((scores < rung).sum()) for rung in rungs if rung >= 0.2] == [0, 1, 2, 3, 4, 5, 6]


def test_a_larger_budget_never_shortens_the_ladder() -> None:
    scores = np.random.default_rng(0).random(100)
    ladders = [ladder(scores, max_missed) for max_missed in (0.001, 0.01, 0.05, 0.2, 1.0)]
    for short, long in pairwise(ladders):
        assert long[: len(short)] == short


def test_without_counterfeits_there_is_no_ladder() -> None:
    assert ladder(np.array([]), 0.02) == ()


def test_the_area_under_the_curve_counts_ties_half() -> None:
    assert auc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1.0
    assert auc(np.array([0.1]), np.array([0.9])) == 0.0
    assert auc(np.array([0.5, 0.5]), np.array([0.5])) == 0.5
    assert auc(np.array([0.3, 0.6]), np.array([0.1, 0.4, 0.6])) == pytest.approx((1 + 2.5) / 6)
    assert auc(np.array([]), np.array([0.5])) is None
    assert auc(np.array([0.5]), np.array([])) is None


def test_a_rung_holds_only_where_every_group_holds_too() -> None:
    alone = certify([(0.1, 0), (0.2, 2)], 600, TWO_PERCENT)
    assert (alone.threshold, alone.misses) == (0.2, 2)
    grouped = certify([(0.1, 0), (0.2, 2)], 600, TWO_PERCENT, [(300, (0, 0)), (200, (0, 2))])
    assert [rung.holds for rung in grouped.rungs] == [True, False]
    assert grouped.rungs[1].p_value == p_value(2, 200, 0.02)
    assert (grouped.certified, grouped.threshold, grouped.misses) == (True, 0.1, 0)
    assert grouped.upper_bound == upper_bound(0, 600, 0.05)


def test_groups_that_fail_at_once_say_how_many_counterfeits_they_lack() -> None:
    found = certify([(0.1, 1)], 600, TWO_PERCENT, [(300, (0,)), (140, (0,)), (160, (1,))])
    assert not found.certified
    assert found.more_counterfeits == (149 - 140) + (236 - 160)
    enough = certify([(0.1, 1)], 685, TWO_PERCENT, [(300, (0,)), (149, (0,)), (236, (1,))])
    assert enough.certified


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(0, 6)), min_size=1, max_size=4), st.integers(0, 300), budgets
)
def test_groups_only_ever_take_a_certificate_away(groups: list[tuple[int, int]], others: int, budget: Budget) -> None:
    groups = [(n, min(misses, n)) for n, misses in groups]
    n, misses = others + sum(size for size, _ in groups), sum(missed for _, missed in groups)
    alone = certify([(0.1, misses)], n, budget)
    grouped = certify([(0.1, misses)], n, budget, [(size, (missed,)) for size, missed in groups])
    holds = all(p_value(missed, size, budget.max_missed) <= budget.alpha for size, missed in groups)
    assert grouped.certified == (alone.certified and holds)
    if not grouped.certified:  # what it asks for is enough, given to whom it lacks
        asked = [max(items_needed(budget, missed) - size, 0) for size, missed in groups]
        spare = max(grouped.more_counterfeits - sum(asked), 0)
        again = certify(
            [(0.1, misses)],
            n + sum(asked) + spare,
            budget,
            [(size + more, (missed,)) for (size, missed), more in zip(groups, asked, strict=True)],
        )
        assert again.certified


group_sizes = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 2000), max_size=7)
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99])


def claims_alpha(variants: int, groups: int, review: bool, confidence: float) -> float:
    return (1 - confidence) / (variants * (1 + groups + review))


@settings(deadline=None)
@given(group_sizes, st.integers(1, 8), st.booleans(), confidences, st.floats(0.005, 0.3))
def test_a_group_that_is_admitted_can_prove_the_budget_without_a_miss_and_one_more_could_not(
    sizes: dict[str, int], variants: int, review: bool, confidence: float, max_missed: float
) -> None:
    admitted = admit_groups(sizes, variants, review, confidence, max_missed)
    alpha = claims_alpha(variants, len(admitted), review, confidence)
    needed = items_needed(Budget(max_missed=max_missed, alpha=alpha))
    assert all(sizes[group] >= needed for group in admitted)
    assert admitted == tuple(sorted(set(admitted)))
    assert len(sizes) != 1 or admitted == ()
    if admitted:
        assert sum(sizes.values()) >= needed
        assert min(sizes[group] for group in admitted) >= max(
            (size for group, size in sizes.items() if group not in admitted), default=0
        )
    if len(sizes) > 1 and len(admitted) < len(sizes):
        ordered = sorted(sizes.values(), reverse=True)
        for number in range(len(admitted) + 1, len(sizes) + 1):
            stricter = Budget(max_missed=max_missed, alpha=claims_alpha(variants, number, review, confidence))
            assert ordered[number - 1] < items_needed(stricter)


@settings(deadline=None)
@given(group_sizes, st.integers(1, 100), st.integers(1, 8), st.booleans(), confidences, st.floats(0.005, 0.3))
def test_one_more_small_group_never_takes_the_overall_claim_away(
    sizes: dict[str, int], small: int, variants: int, review: bool, confidence: float, max_missed: float
) -> None:
    def provable(found: dict[str, int]) -> bool:
        admitted = admit_groups(found, variants, review, confidence, max_missed)
        alpha = claims_alpha(variants, len(admitted), review, confidence)
        return sum(found.values()) >= items_needed(Budget(max_missed=max_missed, alpha=alpha))

    least = min(sizes.values(), default=small)
    assert not provable(sizes) or provable({**sizes, "small": min(small, least)})


@settings(deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0, 0.5), st.floats(0.01, 1.0), st.floats(0.001, 0.2))
def test_as_many_more_genuine_items_as_were_asked_for_prove_the_review_budget(
    genuine: int, share: float, prevalence: float, max_review: float, alpha: float
) -> None:
    reviewed = round(share * genuine)
    more = genuine_needed(reviewed, genuine, prevalence, max_review, alpha)
    holds = review_bound(reviewed, genuine, prevalence, alpha) <= max_review
    assert (more == 0) == holds
    if more:
        rate_seen, total = reviewed / genuine, genuine + more
        assert review_bound(rate_seen * total, total, prevalence, alpha) <= max_review
        for fewer in {total - 1, genuine + int(0.9 * more)} - {genuine + more}:
            assert review_bound(rate_seen * fewer, fewer, prevalence, alpha) > max_review
    if more is None:  # the rate seen is over the budget, or so close that no set one could collect would do
        far = 10**8
        assert review_bound(reviewed / genuine * far, far, prevalence, alpha) > max_review


def test_review_is_bounded_over_all_items_and_counterfeits_all_go_there() -> None:
    assert review_bound(0, 10**9, 0.09, 0.05) == pytest.approx(0.09, abs=1e-6)
    assert review_bound(20, 200, 0.09, 0.05) == pytest.approx(0.09 + 0.91 * upper_bound(20, 200, 0.05))
    assert review_bound(0, 0, 0.09, 0.05) == 1.0
    assert genuine_needed(0, 0, 0.09, 0.2, 0.05) == items_needed(Budget(max_missed=0.11 / 0.91, alpha=0.05))
    assert genuine_needed(200, 200, 0.09, 0.5, 0.05) is None
    assert genuine_needed(0, 50, 0.3, 0.25, 0.05) is None


def false_claim(random: np.random.Generator, variants: int, alpha: float, both_view_the_same: bool) -> bool:
    """One release: variants that break one group's budget and the review budget by a hair; is anything claimed?"""
    budget, prevalence, max_review = Budget(max_missed=0.05, alpha=alpha), 0.1, 0.3
    sizes, rates = (200, 150, 30), (0.0501, 0.0, 0.0)
    genuine, reviewed_rate = 300, (max_review - prevalence) / (1 - prevalence) + 1e-4
    for number in range(variants):
        if number == 0 or not both_view_the_same:
            misses = [int(random.binomial(n, rate)) for n, rate in zip(sizes, rates, strict=True)]
            reviewed = int(random.binomial(genuine, reviewed_rate))
        groups = [(n, (missed,)) for n, missed in zip(sizes[:2], misses[:2], strict=True)]
        if certify([(0.1, sum(misses))], sum(sizes), budget, groups).certified:
            return True
        if review_bound(reviewed, genuine, prevalence, alpha) <= max_review:
            return True
    return False


@pytest.mark.parametrize("dependent", [False, True])
def test_all_claims_of_a_release_together_keep_the_error_level(dependent: bool) -> None:
    """Two variants, each with overall, two groups and review: one false claim of the eight is one too many."""
    confidence, variants, trials = 0.9, 2, 1200
    sizes = {"a": 200, "b": 150}
    admitted = admit_groups(sizes, variants, True, confidence, 0.05)
    assert admitted == ("a", "b")
    alpha = claims_alpha(variants, len(admitted), True, confidence)
    random = np.random.default_rng(17)
    share = np.mean([false_claim(random, variants, alpha, dependent) for _ in range(trials)])
    level = 1 - confidence
    assert 0 < share <= level + 3 * math.sqrt(level * (1 - level) / trials)
    undivided = np.mean([false_claim(random, variants, level, False) for _ in range(300)])
    assert undivided > 1.5 * level  # so the division is what keeps it
