"""Claims are divided before a score is seen; what a variant misses and float does not is listed and bounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from calibration_data.dataset import Item, Photo
from optimize.freezing import Frozen
from optimize.model import ModelSpec
from optimize.recipe import BudgetRecipe
from optimize.risk import Budget, items_needed, upper_bound
from optimize.risk_judge import Judged, divide, gather, judge, reported
from optimize.roles import Roles
from optimize.rule import fit_fusion
from optimize.scoring import Row
from optimize.targets.target import Precision, Slot
from runtime.contracts.errors import Unsupported

SPEC = ModelSpec(
    name="goods", px=32, views=("logo",), trained_on=(), folds=None, listing=None, seed=7, by_time=False, provenance={}
)
BUDGET = BudgetRecipe(max_missed=0.05, confidence=0.9)


def item(item_id: str, counterfeit: bool, group: str | None = None) -> Item:
    photo = Photo(view="logo", path=Path(f"{item_id}.jpg"))
    return Item(item_id=item_id, label="counterfeit" if counterfeit else "genuine", photos=(photo,), group=group)


def side(name: str, genuine: int, counterfeit: int, *groups: str | None) -> tuple[Item, ...]:
    names = groups or (None,)
    return tuple(
        item(f"{name}-{number:04d}", number < counterfeit, names[number % len(names)])
        for number in range(genuine + counterfeit)
    )


def roles(certify: tuple[Item, ...]) -> Roles:
    return Roles(calibrate=side("cal", 100, 100), certify=certify, evaluate=side("eva", 30, 30), fold_of={})


def frozen(name: str, baseline: str | None, precision: Precision) -> Frozen:
    slot = Slot(name=name, engine="onnxruntime", precision=precision, baseline=baseline)
    return Frozen(
        name=name,
        target="x86",
        slot=slot,
        precision=precision,
        shipped=None,
        candidate=None,
        attempt=None,
        compared=None,
        gates=(),
        coverage=None,
    )


FLOAT, INT8 = frozen("float", None, "float32"), frozen("int8", "float", "int8")


def rows(given: Roles, *missed: frozenset[str]) -> list[Row]:
    """Every variant tells all apart but the counterfeits that it misses; none to certify on is near a threshold."""
    random = np.random.default_rng(0)
    found = []
    for one in given.scored:
        noise = float(random.uniform(-1, 1)) if one in given.calibrate else float(random.uniform(2, 3))
        outputs = tuple(
            np.array(
                [5.0 + noise if one.label == "counterfeit" and one.item_id not in lost else -5.0 - noise], np.float32
            )
            for lost in missed
        )
        found.append(Row(item_id=one.item_id, view="logo", outputs=outputs))
    return found


def judged(given: Roles, budget: BudgetRecipe, *missed: frozenset[str]) -> Judged:
    return judge([FLOAT, INT8][: len(missed)], rows(given, *missed), SPEC, given, budget, None)


@pytest.mark.parametrize(
    ("certify", "max_review", "groups", "claims"),
    [
        (side("cer", 50, 400), None, (), 2),
        (side("cer", 50, 400), 0.3, (), 4),
        (side("cer", 50, 400, "Acme"), None, (), 2),  # one group alone is the overall claim
        (side("cer", 50, 400, "Acme", "Globex"), None, ("Acme", "Globex"), 6),
        (side("cer", 50, 400, "Acme", "Globex"), 0.3, ("Acme", "Globex"), 8),
        (side("cer", 50, 60, "Acme", "Globex"), None, (), 2),
        (side("cer", 50, 180, "Acme", "Acme", "Acme", "Acme", "Acme", "Globex"), None, ("Acme",), 4),
    ],
)
def test_the_error_level_is_divided_over_all_claims(
    certify: tuple[Item, ...], max_review: float | None, groups: tuple[str, ...], claims: int
) -> None:
    found = divide(2, roles(certify), BudgetRecipe(max_missed=0.05, confidence=0.9, max_review=max_review))
    assert (found.groups, found.claims, found.variants) == (groups, claims, 2)
    assert found.alpha_per_claim == pytest.approx(0.1 / claims)
    assert found.prevalence == (None if max_review is None else 0.09)
    assert (found.max_missed, found.max_review, found.confidence) == (0.05, max_review, 0.9)


def test_groups_are_counted_on_certify_counterfeits_alone() -> None:
    """A group is large enough by what tests it, however many genuine or calibrating items it has."""
    certify = (*side("many", 0, 300, "Acme"), *side("few", 500, 20, "Globex"))
    given = Roles(calibrate=side("cal", 0, 500, "Globex"), certify=certify, evaluate=(), fold_of={})
    found = divide(1, given, BUDGET)
    assert found.groups == ("Acme",)
    needed = items_needed(Budget(max_missed=0.05, alpha=found.alpha_per_claim))
    assert 20 < needed <= 300


def test_what_the_variant_misses_and_float_does_not_is_listed_and_bounded_exactly() -> None:
    given = roles(side("cer", 200, 400))
    lost, both = frozenset({"cer-0003", "cer-0007"}), frozenset({"cer-0009"})
    found = judged(given, BudgetRecipe(max_missed=0.05, confidence=0.9), both, lost | both)
    assert found.decisions["float"].regressions is None
    regressions = found.decisions["int8"].regressions
    assert regressions is not None
    assert regressions.items == ("cer-0003", "cer-0007")
    assert (regressions.n, regressions.confidence) == (400, 0.9)
    assert regressions.upper_bound == upper_bound(2, 400, 1 - 0.9)
    assert found.decisions["int8"].certificate.misses == 3
    assert found.decisions["float"].certificate.misses == 1


def test_an_int8_without_a_baseline_is_no_float_wherever_it_stands() -> None:
    given = roles(side("cer", 200, 400))
    lost, phone = frozenset({"cer-0003"}), frozen("mobile-int8", None, "int8")
    budget = BudgetRecipe(max_missed=0.05, confidence=0.9)
    for order in ([phone, FLOAT], [FLOAT, phone]):
        missed = [lost if one is phone else frozenset() for one in order]
        found = judge(order, rows(given, *missed), SPEC, given, budget, None).decisions
        assert found["float"].regressions is None
        regressions = found["mobile-int8"].regressions
        assert regressions is not None
        assert regressions.items == ("cer-0003",)
    alone = judge([phone], rows(given, lost), SPEC, given, budget, None).decisions
    assert alone["mobile-int8"].regressions is None


def test_a_variant_that_misses_less_than_float_has_no_regressions() -> None:
    given = roles(side("cer", 200, 400))
    regressions = judged(given, BUDGET, frozenset({"cer-0003"}), frozenset()).decisions["int8"].regressions
    assert regressions is not None
    assert (regressions.items, regressions.upper_bound) == ((), upper_bound(0, 400, 1 - 0.9))


def test_every_group_with_a_claim_has_its_misses_and_its_bound() -> None:
    given = roles(side("cer", 200, 400, "Acme", "Globex"))
    found = judged(given, BUDGET, frozenset({"cer-0003"}))  # odd places are Globex
    decision = found.decisions["float"]
    assert decision.certificate.certified
    assert [(one.group, one.n, one.misses) for one in decision.groups] == [("Acme", 200, 0), ("Globex", 200, 1)]
    assert decision.groups[1].upper_bound == upper_bound(1, 200, found.claims.alpha_per_claim)
    assert decision.groups[1].upper_bound <= 0.05


def test_where_nothing_is_proved_no_group_is_claimed() -> None:
    given = roles(side("cer", 200, 400, "Acme", "Globex"))
    bad = frozenset(f"cer-{number:04d}" for number in range(1, 80, 2))
    decision = judged(given, BUDGET, bad).decisions["float"]
    assert not decision.certificate.certified
    assert decision.groups == ()
    assert decision.authentic_below == 0.0
    assert decision.genuine_review == 1.0


def test_the_review_claim_is_bounded_on_genuine_certify_items() -> None:
    given = roles(side("cer", 500, 400))
    budget = BudgetRecipe(max_missed=0.05, confidence=0.9, max_review=0.2, prevalence=0.1)
    found = judged(given, budget, frozenset())
    review = found.decisions["float"].review
    assert review is not None
    assert (review.genuine, review.reviewed) == (500, 0)
    assert review.share == pytest.approx(0.1)
    assert review.upper_bound == pytest.approx(0.1 + 0.9 * upper_bound(0, 500, found.claims.alpha_per_claim))
    assert (review.holds, review.more_genuine) == (True, 0)
    tight = judged(given, BudgetRecipe(max_missed=0.05, confidence=0.9, max_review=0.1003, prevalence=0.1), frozenset())
    review = tight.decisions["float"].review
    assert review is not None
    assert not review.holds
    assert review.more_genuine is not None
    assert review.more_genuine > 1000
    assert judged(given, BUDGET, frozenset()).decisions["float"].review is None


def test_probabilities_are_reported_in_the_order_of_the_items_that_chose_nothing() -> None:
    given = roles(side("cer", 50, 200))
    found = judged(given, BUDGET, frozenset())
    order = [one.item_id for one in reported(given)]
    assert order == [one.item_id for one in given.evaluate]
    p = found.decided["float"].probabilities
    assert found.decisions["float"].p == tuple(p[item_id] for item_id in order)
    assert [one.counterfeit for one in reported(given)] == [True] * 30 + [False] * 30


def gathered(given: Roles, spec: ModelSpec, found: Sequence[Row]) -> dict[str, list[float]]:
    return {name: [*one.logits["logo"]] for name, one in gather(found, 0, spec, given).items()}


def test_a_cross_fitted_item_is_judged_by_the_block_of_its_fold() -> None:
    folds = {"a": 0, "b": 1}
    everyone = (item("a", True), item("b", False))
    given = Roles(calibrate=everyone, certify=everyone, evaluate=everyone, fold_of=folds)
    found = [Row(item_id=name, view="logo", outputs=(np.array([0.0, 1.0, 2.0], np.float32),)) for name in folds]
    assert gathered(given, SPEC, found) == {"a": [1.0], "b": [2.0]}
    plain = Roles(calibrate=everyone, certify=(), evaluate=(), fold_of={})
    assert gathered(plain, SPEC, found) == {"a": [0.0], "b": [0.0]}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_ends_the_build_by_name(bad: float) -> None:
    given = roles(side("cer", 2, 2))
    found = rows(given, frozenset())
    found[5] = Row(item_id=found[5].item_id, view="logo", outputs=(np.array([bad], np.float32),))
    with pytest.raises(Unsupported, match=rf"^model goods: photo 'logo' of item '{found[5].item_id}' scores "):
        gather(found, 0, SPEC, given)


def test_calibrate_alone_chooses_the_fusion() -> None:
    given = roles(side("cer", 50, 200))
    found = judged(given, BUDGET, frozenset())
    scored = gather(rows(given, frozenset()), 0, SPEC, given)
    assert found.decided["float"].rule.fusion == fit_fusion(
        [scored[one.item_id] for one in given.calibrate], SPEC.views
    )
