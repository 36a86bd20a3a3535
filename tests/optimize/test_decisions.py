from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from optimize.decisions import decide_cross_fitted, decide_split, evaluate_items
from optimize.risk import MAX_FALSE_SUSPECTS, Budget, p_value, suspect_from
from optimize.rule import Rule, Scored, fit_fusion, probabilities
from runtime.contracts.bundle import ANY_VIEW, Thresholds
from runtime.policy import fuse

VIEWS = ("logo", "stitching")
LOOSE, TWO_PERCENT = Budget(max_missed=0.1, alpha=0.025), Budget(max_missed=0.02, alpha=0.025)


def items(
    genuine: int,
    counterfeit: int,
    seed: int,
    gap: Mapping[str, float] | None = None,
    folds: int = 1,
    prefix: str = "item",
) -> list[Scored]:
    """Items whose counterfeits score higher by ``gap`` a view, in noise of unit variance."""
    random = np.random.default_rng(seed)
    gaps = gap or {"logo": 4.0, "stitching": 3.0}
    return [
        Scored(
            item_id=f"{prefix}-{seed}-{number}",
            positive=number < counterfeit,
            logits={view: [float(random.normal(g * (number < counterfeit)))] for view, g in gaps.items()},
            fold=number % folds,
        )
        for number in range(genuine + counterfeit)
    ]


def labels(scored: list[Scored]) -> list[tuple[str, bool]]:
    return [(item.item_id, item.positive) for item in scored]


def test_a_fusion_weighs_the_view_that_tells_more() -> None:
    fusion = fit_fusion(items(200, 200, 1, {"logo": 3.0, "stitching": 0.6}), VIEWS)
    assert fusion.weights["logo"] > fusion.weights["stitching"] > 0


def test_a_fusion_is_calibrated() -> None:
    fusion = fit_fusion(items(1500, 1500, 1, {"logo": 1.5, "stitching": 1.0}), VIEWS)
    fresh = items(1500, 1500, 2, {"logo": 1.5, "stitching": 1.0})
    p = probabilities(fresh, Rule(fusion=fusion))
    positive = np.array([item.positive for item in fresh])
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (p >= low) & (p < low + 0.2)
        assert positive[inside].mean() == pytest.approx(p[inside].mean(), abs=0.07)


def test_a_view_that_would_count_against_the_evidence_makes_all_views_share_one_weight() -> None:
    fusion = fit_fusion(items(200, 200, 1, {"logo": 3.0, "stitching": -1.0}), VIEWS)
    assert fusion.weights["logo"] == fusion.weights["stitching"] > 0


def test_a_model_that_is_wrong_altogether_still_gets_rising_weights() -> None:
    fusion = fit_fusion(items(100, 100, 1, {"logo": -3.0, "stitching": -3.0}), VIEWS)
    assert fusion.weights == pytest.approx({"logo": 5e-4, "stitching": 5e-4})


def test_exchangeable_views_get_the_one_weight() -> None:
    fusion = fit_fusion(items(50, 50, 1), (ANY_VIEW,))
    assert set(fusion.weights) == {ANY_VIEW}


def test_an_item_that_lacks_a_view_counts_as_reviewed_not_as_accepted() -> None:
    fusion = fit_fusion(items(50, 50, 1), VIEWS)
    assert probabilities(
        [Scored(item_id="x", positive=True, logits={"logo": [-9.0]})], Rule(fusion=fusion)
    ).tolist() == [1.0]


def test_the_build_and_the_station_compute_the_same_probability() -> None:
    scored = items(20, 20, 1)
    fusion = fit_fusion(scored, VIEWS)
    assert probabilities(scored, Rule(fusion=fusion)).tolist() == [fuse(item.logits, fusion) for item in scored]


def test_a_split_that_can_prove_the_budget_sets_thresholds_that_hold_it() -> None:
    calibrate, certify_on, evaluate = items(150, 150, 1), items(200, 200, 2), items(300, 300, 3)
    decided = decide_split(calibrate, certify_on, evaluate, VIEWS, TWO_PERCENT)
    assert decided.certificate.certified
    assert decided.certificate.n == 200
    assert decided.thresholds.authentic_below == decided.certificate.threshold > 0
    assert decided.thresholds.suspect_from >= 0.5
    p = probabilities(certify_on, decided.rule)
    missed = sum(
        one < decided.thresholds.authentic_below and item.positive for one, item in zip(p, certify_on, strict=True)
    )
    assert missed == decided.certificate.misses
    report = evaluate_items(labels(evaluate), decided.probabilities, decided.thresholds, {}, None)
    assert report.far.value <= 0.02
    assert report.genuine_review.value < 0.2
    assert set(decided.probabilities) == {item.item_id for item in evaluate}


def test_the_certify_split_chooses_nothing() -> None:
    """Other certify items may shorten the ladder, but never move a rung, the fusion or ``suspect_from``'s scores."""
    calibrate, evaluate = items(150, 150, 1), items(30, 30, 3)
    one, other = (decide_split(calibrate, items(200, 200, seed), evaluate, VIEWS, TWO_PERCENT) for seed in (2, 9))
    assert one.rule == other.rule
    assert one.probabilities == other.probabilities
    common = min(len(one.certificate.rungs), len(other.certificate.rungs))
    assert [rung.threshold for rung in one.certificate.rungs[:common]] == [
        rung.threshold for rung in other.certificate.rungs[:common]
    ]


def test_too_few_items_prove_nothing_and_send_everything_to_an_expert() -> None:
    calibrate, certify_on, evaluate = items(30, 30, 1), items(40, 40, 2), items(20, 20, 3)
    decided = decide_split(calibrate, certify_on, evaluate, VIEWS, TWO_PERCENT)
    assert not decided.certificate.certified
    assert decided.thresholds.authentic_below == 0.0
    assert decided.certificate.more_counterfeits == 183 - 40  # 0.98 ** 183 <= 0.025 < 0.98 ** 182
    assert decided.review == 1.0
    report = evaluate_items(labels(evaluate), decided.probabilities, decided.thresholds, {}, None)
    assert (report.far.count, report.review.count, report.review.n) == (0, 40, 40)


def test_as_many_more_items_as_were_asked_for_are_enough() -> None:
    calibrate, certify_on = items(30, 30, 1), items(0, 40, 2)
    asked = decide_split(calibrate, certify_on, [], VIEWS, TWO_PERCENT).certificate.more_counterfeits
    clean = [Scored(item_id=f"m{n}", positive=True, logits={v: [9.0] for v in VIEWS}) for n in range(asked)]
    assert decide_split(calibrate, certify_on + clean, [], VIEWS, TWO_PERCENT).certificate.certified
    assert not decide_split(calibrate, certify_on + clean[1:], [], VIEWS, TWO_PERCENT).certificate.certified


def test_without_a_counterfeit_to_certify_on_nothing_is_claimed() -> None:
    decided = decide_split(items(30, 30, 1), items(40, 0, 2), [], VIEWS, TWO_PERCENT)
    assert (decided.certificate.certified, decided.certificate.more_counterfeits) == (False, 183)
    assert decided.thresholds.authentic_below == 0.0


def test_cross_fitting_judges_every_item_by_the_other_folds() -> None:
    scored = items(100, 100, 4, folds=5)
    decided = decide_cross_fitted(scored, VIEWS, LOOSE)
    assert decided.certificate.certified
    assert decided.certificate.n == 100
    for fold in range(5):
        others = fit_fusion([item for item in scored if item.fold != fold], VIEWS)
        for item in scored:
            if item.fold == fold:
                assert decided.probabilities[item.item_id] == fuse(item.logits, others)
    assert decided.rule.fusion == fit_fusion(scored, VIEWS)


def test_cross_fitting_does_not_let_an_outlier_vouch_for_itself() -> None:
    """A counterfeit that looks genuine drags its own threshold down, but the other folds' threshold still misses it."""
    scored = items(100, 100, 4, {"logo": 8.0, "stitching": 8.0}, folds=5)
    outlier = Scored(item_id="outlier", positive=True, logits={view: [-9.0] for view in VIEWS}, fold=2)
    decided = decide_cross_fitted([*scored, outlier], VIEWS, LOOSE)
    assert decided.certificate.rungs[0].misses == 1
    assert decided.certificate.n == 101


def test_cross_fitting_too_few_items_proves_nothing() -> None:
    decided = decide_cross_fitted(items(30, 30, 4, folds=5), VIEWS, TWO_PERCENT)
    assert not decided.certificate.certified
    assert decided.thresholds.authentic_below == 0.0
    assert decided.certificate.more_counterfeits >= 183 - 30


def in_groups(scored: list[Scored], *names: str | None) -> list[Scored]:
    """The same items, dealt out to groups in turn."""
    return [dataclasses.replace(item, group=names[place % len(names)]) for place, item in enumerate(scored)]


def test_the_misses_of_groups_that_hold_every_item_add_up() -> None:
    certify_on = in_groups(items(400, 900, 2, {"logo": 2.0, "stitching": 2.0}), "Acme", "Globex", "Initech")
    calibrate = items(300, 300, 1, {"logo": 2.0, "stitching": 2.0})
    decided = decide_split(calibrate, certify_on, [], VIEWS, LOOSE, ("Acme", "Globex", "Initech"))
    assert decided.certificate.certified
    assert set(decided.groups) == {"Acme", "Globex", "Initech"}
    assert sum(n for n, _ in decided.groups.values()) == decided.certificate.n == 900
    assert sum(misses for _, misses in decided.groups.values()) == decided.certificate.misses > 3
    for name, (n, misses) in decided.groups.items():
        own = {item.item_id for item in certify_on if item.group == name and item.positive}
        assert (n, misses) == (len(own), len(own & decided.missed))
        assert p_value(misses, n, LOOSE.max_missed) <= LOOSE.alpha


def test_what_is_missed_is_what_the_certificate_counts_and_no_genuine_item() -> None:
    calibrate, certify_on = (
        items(200, 200, 1, {"logo": 2.0, "stitching": 2.0}),
        items(300, 500, 2, {"logo": 2.0, "stitching": 2.0}),
    )
    decided = decide_split(calibrate, certify_on, items(20, 20, 3), VIEWS, LOOSE)
    p = dict(zip([item.item_id for item in certify_on], probabilities(certify_on, decided.rule), strict=True))
    below = {item.item_id for item in certify_on if p[item.item_id] < decided.thresholds.authentic_below}
    positive = {item.item_id for item in certify_on if item.positive}
    assert decided.missed == below & positive
    assert len(decided.missed) == decided.certificate.misses > 0
    assert (decided.genuine, decided.reviewed) == (300, 300 - len(below - positive))
    assert decided.review == decided.reviewed / 300
    assert decided.groups == {}


def test_a_group_that_fails_stops_the_ladder_for_all() -> None:
    """Counterfeits of one group look genuine: overall few are missed, in the group most."""
    calibrate = items(300, 300, 1)
    good, bad = (
        in_groups(items(300, 600, 2), "Acme"),
        in_groups(items(0, 40, 5, {"logo": 0.2, "stitching": 0.2}), "Globex"),
    )
    alone = decide_split(calibrate, [*good, *bad], [], VIEWS, LOOSE)
    grouped = decide_split(calibrate, [*good, *bad], [], VIEWS, LOOSE, ("Acme", "Globex"))
    assert alone.certificate.certified
    assert not grouped.certificate.certified
    assert grouped.thresholds.authentic_below == 0.0
    assert (grouped.missed, grouped.reviewed) == (frozenset(), 300)
    assert grouped.groups == {"Acme": (600, 0), "Globex": (40, 0)}
    assert alone.rule == grouped.rule


def test_items_of_no_group_count_overall_only() -> None:
    certify_on = in_groups(items(100, 400, 2), "Acme", None)
    decided = decide_split(items(200, 200, 1), certify_on, [], VIEWS, LOOSE, ("Acme",))
    assert decided.groups["Acme"][0] == 200
    assert decided.certificate.n == 400


def test_cross_fitting_certifies_groups_too_and_counts_what_ships_misses() -> None:
    scored = in_groups(items(200, 400, 4, folds=5), "Acme", "Globex", "Initech")
    decided = decide_cross_fitted(scored, VIEWS, LOOSE, ("Acme", "Globex"))
    assert decided.certificate.certified
    expected = {name: sum(item.positive and item.group == name for item in scored) for name in ("Acme", "Globex")}
    assert {name: n for name, (n, _) in decided.groups.items()} == expected
    assert decided.missed == {
        item.item_id
        for item in scored
        if item.positive and decided.probabilities[item.item_id] < decided.thresholds.authentic_below
    }
    cleared = [
        item
        for item in scored
        if not item.positive and decided.probabilities[item.item_id] < decided.thresholds.authentic_below
    ]
    assert (decided.genuine, decided.reviewed) == (200, 200 - len(cleared))


def test_without_genuine_items_everything_counts_as_reviewed() -> None:
    decided = decide_split(items(30, 30, 1), items(0, 40, 2), [], VIEWS, LOOSE)
    assert (decided.genuine, decided.reviewed, decided.review) == (0, 0, 1.0)


def test_suspects_are_at_most_one_percent_of_the_genuine_items_that_chose_them() -> None:
    genuine = np.random.default_rng(0).random(1000)
    limit = suspect_from(genuine, 0.1)
    assert 0 < (genuine >= limit).mean() <= MAX_FALSE_SUSPECTS


def test_suspects_start_neither_below_one_half_nor_below_authentic_nor_above_one() -> None:
    assert suspect_from(np.full(100, 0.1), 0.2) == 0.5
    assert suspect_from(np.full(100, 0.1), 0.7) == 0.7
    assert suspect_from(np.array([1.0, 1.0]), 0.2) == 1.0
    assert suspect_from(np.array([]), 0.2) == 1.0


def test_items_are_counted_as_by_hand() -> None:
    p = {"g1": 0.05, "g2": 0.30, "g3": 0.95, "g4": 0.10, "c1": 0.99, "c2": 0.40, "c3": 0.01, "c4": 0.60, "c5": 0.97}
    report = evaluate_items(
        [(name, name.startswith("c")) for name in p], p, Thresholds(authentic_below=0.2, suspect_from=0.9), {}, None
    )
    assert (report.far.count, report.far.n) == (1, 5)  # c3
    assert (report.frr.count, report.frr.n) == (1, 4)  # g3
    assert (report.genuine_review.count, report.genuine_review.n) == (2, 4)  # g2, g3
    assert (report.review.count, report.review.n) == (6, 9)  # all but g1, g4, c3
    assert (report.accuracy.count, report.accuracy.n) == (6, 9)  # g1 g2 g4 c1 c4 c5
    assert report.auc == pytest.approx(14 / 20)


def test_a_risky_or_missing_listing_sends_an_item_to_review_in_the_report_too() -> None:
    p = {"g1": 0.05, "g2": 0.05, "g3": 0.05, "c1": 0.05}
    limits = Thresholds(authentic_below=0.2, suspect_from=0.9)
    report = evaluate_items(
        [(name, name.startswith("c")) for name in p], p, limits, {"g1": 0.1, "g2": 0.6, "c1": 0.7}, 0.5
    )
    assert report.far.count == 0
    assert report.genuine_review.count == 2  # g2 is risky, g3 has no listing
    assert report.review.count == 3
