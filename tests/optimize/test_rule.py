"""A cascade is one rule with one score; how sure its first stage may be follows from the calibrate split alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from optimize.decisions import decide_cross_fitted, decide_split
from optimize.risk import MAX_FALSE_SUSPECTS, Budget
from optimize.rule import FIRST_STAGE_SHARE, Rule, Scored, fit_fusion, fit_rule, positives, probabilities, sure_below
from runtime.contracts.bundle import FirstStage, Fusion
from runtime.policy import fuse, is_sure

VIEWS = ("logo",)
BUDGET = Budget(max_missed=0.1, alpha=0.05)
PLAIN = Fusion(bias=0.0, weights={"logo": 1.0})

Shares = st.floats(0.001, 0.5)
SomeScores = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=60).map(lambda found: np.array(found, np.float64))


def items(count: int, seed: int, *, first: float = 3.0, second: float = 6.0, folds: int = 1) -> list[Scored]:
    """Half counterfeits, in noise of unit variance; the stages tell them apart by ``first`` and ``second``."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        positive = number % 2 == 1
        found.append(
            Scored(
                item_id=f"{seed}-{number}",
                positive=positive,
                logits={"logo": [float(random.normal(second * positive))]},
                first={"logo": [float(random.normal(first * positive))]},
                fold=number // 2 % folds,
            )
        )
    return found


def rule(below: float, above: float, lag: float = 0.0) -> Rule:
    first = FirstStage(file="", px=0, fusion=PLAIN, sure_below=below, sure_from=max(below, above))
    return Rule(fusion=PLAIN, first=first, lag=lag)


def item_of(first: float | None, second: float | None) -> Scored:
    return Scored(
        item_id="x",
        positive=True,
        logits={} if second is None else {"logo": [second]},
        first={} if first is None else {"logo": [first]},
    )


@given(
    first=st.none() | st.floats(-20, 20),
    second=st.none() | st.floats(-20, 20),
    below=st.floats(0, 1),
    above=st.floats(0, 1),
)
def test_an_items_score_is_that_of_the_stage_that_decides_it(
    first: float | None, second: float | None, below: float, above: float
) -> None:
    given_rule = rule(below, above)
    item = item_of(first, second)
    one, other = fuse(item.first or {}, PLAIN), fuse(item.logits, PLAIN)
    assert given_rule.first is not None
    sure = is_sure(one, given_rule.first)
    assert given_rule.sure(item) == sure
    assert sure == (one is not None and not (below <= one < max(below, above)))
    assert given_rule.probability(item) == (one if sure else 1.0 if other is None else other)


@given(
    first=st.none() | st.floats(-12, 12),
    second=st.none() | st.floats(-12, 12),
    below=st.floats(0, 1),
    above=st.floats(0.5, 1),
    lag=st.floats(0, 6),
    threshold=st.floats(0, 1),
)
def test_what_the_ladder_tests_is_what_a_station_decides_with_that_threshold(
    first: float | None, second: float | None, below: float, above: float, lag: float, threshold: float
) -> None:
    """``sure_below`` goes with the threshold: no item changes sides between the test and the shipped rule."""
    found, item = rule(below, above, lag), item_of(first, second)
    shipped = found.at(threshold)
    assert shipped.first is not None
    assert found.first is not None
    assert shipped.first.sure_below <= min(found.first.sure_below, threshold)
    clears_from = found.clears_from(item)
    assume(abs(clears_from - threshold) > 1e-9)
    assert (shipped.probability(item) < threshold) == (clears_from < threshold)


@given(scores=SomeScores, share=Shares)
def test_no_more_counterfeits_than_the_share_lie_below_where_the_first_stage_is_sure(
    scores: np.ndarray, share: float
) -> None:
    below = sure_below(scores, share)
    assert 0 <= below <= 1
    assert (scores < below).sum() <= share * (scores.size + 1)


@given(scores=SomeScores, shares=st.tuples(Shares, Shares))
def test_a_larger_share_never_makes_the_first_stage_less_sure(scores: np.ndarray, shares: tuple[float, float]) -> None:
    assert sure_below(scores, min(shares)) <= sure_below(scores, max(shares))


def test_with_no_counterfeits_to_learn_from_nothing_is_sure() -> None:
    assert sure_below(np.array([]), 0.1) == 0.0
    assert sure_below(np.array([0.5]), 0.1) == 0.0


@pytest.mark.parametrize("count", [12, 60, 800])
def test_further_counterfeits_lie_below_as_rarely_as_was_asked_for_however_few_were_seen(count: int) -> None:
    """The mean over many small sets; below twelve the limit is as good, and of little use."""
    random, share, found = np.random.default_rng(count), 0.02, []
    for _ in range(400):
        seen, further = 1 / (1 + np.exp(-random.normal(2, 1.5, count))), 1 / (1 + np.exp(-random.normal(2, 1.5, 2000)))
        found.append((further < sure_below(seen, share)).mean())
    assert 0.4 * share < np.mean(found) < 1.1 * share


def test_the_first_stage_is_fitted_on_its_own_logits_and_flags_one_genuine_item_in_a_hundred_at_most() -> None:
    scored = items(1000, 1)
    found = fit_rule(scored, VIEWS, 0.2)
    assert 0.2 < np.mean([found.sure(item) for item in scored]) < 0.9
    alone = [dataclasses.replace(item, logits=item.first or {}, first=None) for item in scored]
    assert found.fusion == fit_fusion(scored, VIEWS)
    assert found.first is not None
    assert found.first.fusion == fit_fusion(alone, VIEWS)
    p, positive = probabilities(alone, Rule(fusion=found.first.fusion)), positives(scored)
    assert 0 < (p[~positive] >= found.first.sure_from).mean() <= MAX_FALSE_SUSPECTS
    assert found.first.sure_below == sure_below(p[positive], FIRST_STAGE_SHARE * 0.2)


def test_a_stricter_threshold_than_the_ladder_begins_with_makes_the_first_stage_less_sure() -> None:
    found = fit_rule(items(1000, 1, second=9.0), VIEWS, 0.02)
    positive = [item for item in items(1000, 1, second=9.0) if item.positive]
    least = float(probabilities(positive, Rule(fusion=found.fusion)).min())
    assert found.first is not None
    assert found.lag > 0
    sure = [found.at(threshold).first for threshold in (least * 1.001, least / 2, least / 20, 0.0)]
    assert sure[0] == found.first
    below = [one.sure_below for one in sure if one]
    assert below == sorted(below, reverse=True)
    assert len(set(below)) == 4


def test_items_without_a_first_stage_get_a_plain_rule() -> None:
    assert fit_rule([dataclasses.replace(item, first=None) for item in items(100, 1)], VIEWS, 0.1).first is None


def test_a_cascade_is_certified_on_its_one_score_and_misses_what_either_stage_misses() -> None:
    calibrate, tested, shown = items(800, 1), items(2000, 2), items(400, 3)
    decided = decide_split(calibrate, tested, shown, VIEWS, BUDGET)
    certificate = decided.certificate
    assert certificate.certified
    assert certificate.upper_bound <= BUDGET.max_missed
    below = {item.item_id for item in tested if decided.rule.probability(item) < certificate.threshold}
    assert decided.missed == below & {item.item_id for item in tested if item.positive}
    assert len(decided.missed) == certificate.misses > 0
    assert decided.sure == {item.item_id for item in tested if decided.rule.sure(item)}
    assert decided.missed & decided.sure
    assert decided.missed - decided.sure
    assert decided.probabilities == {item.item_id: decided.rule.probability(item) for item in shown}


def test_what_certifies_chooses_no_stage() -> None:
    calibrate, shown = items(800, 1), items(100, 3)
    one, other = (decide_split(calibrate, items(2000, seed), shown, VIEWS, BUDGET) for seed in (2, 4))
    fitted = fit_rule(calibrate, VIEWS, BUDGET.max_missed)
    for decided in (one, other):
        assert decided.rule == fitted.at(decided.certificate.threshold)


def spoilt(tested: list[Scored], every: int) -> list[Scored]:
    """Let the first stage be sure that some counterfeits are genuine, which the second one tells well."""
    return [
        dataclasses.replace(item, first={"logo": [-12.0]}) if item.positive and number // 2 % every == 0 else item
        for number, item in enumerate(tested)
    ]


def test_a_first_stage_that_is_sure_of_counterfeits_is_refused_or_bounded_with_its_misses() -> None:
    calibrate, tested = items(800, 1), items(2000, 2)
    assert decide_split(calibrate, tested, [], VIEWS, BUDGET).certificate.certified
    refused = decide_split(calibrate, spoilt(tested, 5), [], VIEWS, BUDGET)
    assert not refused.certificate.certified
    assert refused.thresholds.authentic_below == 0.0
    assert not any(refused.rule.probability(item) < 0.0 for item in tested)
    bounded = decide_split(calibrate, spoilt(tested, 50), [], VIEWS, BUDGET)
    lost = {item.item_id for item in spoilt(tested, 50) if item.first == {"logo": [-12.0]}}
    assert bounded.certificate.certified
    assert lost <= bounded.missed
    assert bounded.certificate.misses >= 20


def test_in_a_cross_fitted_cascade_each_fold_is_judged_by_a_rule_that_never_saw_it() -> None:
    scored = items(900, 1, folds=3)
    decided = decide_cross_fitted(scored, VIEWS, BUDGET)
    assert decided.certificate.certified
    threshold = decided.certificate.threshold
    assert decided.rule == fit_rule(scored, VIEWS, BUDGET.max_missed).at(threshold)
    for fold in range(3):
        others = fit_rule([item for item in scored if item.fold != fold], VIEWS, BUDGET.max_missed).at(threshold)
        for item in scored:
            if item.fold == fold:
                assert decided.probabilities[item.item_id] == others.probability(item)
                assert (item.item_id in decided.sure) == others.sure(item)


@pytest.mark.parametrize(("logit", "steady"), [(-4.0, True), (-2.3, False), (-2.1, False), (0.0, True), (2.1, False)])
def test_an_item_beside_where_the_first_stage_is_sure_is_not_steady(logit: float, steady: bool) -> None:
    found = rule(0.1, 0.9)  # logits of -2.2 and 2.2
    assert found.steady(Scored(item_id="x", positive=True, logits={}, first={"logo": [logit]})) == steady
    assert Rule(fusion=PLAIN).steady(Scored(item_id="x", positive=True, logits={}))
