"""From logits to thresholds that hold a budget: calibration and fusion, the ladder, the certificate, the report.

Pure functions on scored items. Two ways to the same certificate: *split* (calibrate chooses, certify tests, evaluate
reports), and *cross-fitted* for small sets (each fold is judged by a head, a fusion and thresholds that never saw it;
the pooled misses are treated as one binomial sample, which is an approximation and is said so in the evidence).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from optimize.risk import Budget, Certificate, Evaluation, Scores, auc, certify, ladder, rate
from runtime.contracts.bundle import ANY_VIEW, Fusion, Thresholds
from runtime.contracts.records import Prediction, Verdict
from runtime.policy import decide, fuse

MAX_FALSE_SUSPECTS = 0.01
"""Share of the calibrate split's genuine items that ``suspect_from`` may flag; suspects go to a human anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One item: logits by view, whether it is positive (counterfeit, or fraud), its group, its fold if cross-fitted."""

    item_id: str
    positive: bool
    logits: Mapping[str, Sequence[float]]
    group: str | None = None
    fold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A fusion and thresholds with their certificate, and every reported item's probability.

    ``groups`` holds, by group with a claim, its counterfeits and misses at the threshold. ``genuine`` and ``reviewed``
    count the negative items that did not choose the threshold, and those of them that it does not clear. ``missed`` are
    the positive items among them that it does.
    """

    fusion: Fusion
    thresholds: Thresholds
    certificate: Certificate
    groups: Mapping[str, tuple[int, int]]
    genuine: int
    reviewed: int
    missed: frozenset[str]
    probabilities: Mapping[str, float]

    @property
    def review(self) -> float:
        """Share of negative items that go to review; 1 where there are none."""
        return self.reviewed / self.genuine if self.genuine else 1.0


def fit_fusion(scored: Sequence[Scored], views: Sequence[str]) -> Fusion:
    """Fit calibration and fusion at once: logistic regression of the label on each view's mean logit.

    A view whose weight would be negative is noise at this size; then all views share one weight.
    """
    y = np.array([item.positive for item in scored])
    x = np.array([[_mean(item, view) for view in views] for item in scored])
    weights, bias = _regress(x, y)
    if (weights <= 0).any():
        (shared,), bias = _regress(x.mean(axis=1, keepdims=True), y)
        weights = np.full(len(views), max(float(shared), 1e-3) / len(views))
    return Fusion(bias=bias, weights={view: float(w) for view, w in zip(views, weights, strict=True)})


def probabilities(scored: Sequence[Scored], fusion: Fusion) -> Scores:
    """Return calibrated probabilities, ``float64 (n,)``; 1 where a view is missing, since such an item is reviewed."""
    fused = [fuse(item.logits, fusion) for item in scored]
    return np.array([1.0 if p is None else p for p in fused])


def decide_split(
    calibrate: Sequence[Scored],
    certify_on: Sequence[Scored],
    evaluate: Sequence[Scored],
    views: Sequence[str],
    budget: Budget,
    groups: Sequence[str] = (),
) -> Decided:
    """Choose on calibrate, test on certify (overall and in every group with a claim), report on evaluate."""
    fusion = fit_fusion(calibrate, views)
    seen, tested = probabilities(calibrate, fusion), probabilities(certify_on, fusion)
    rungs = ladder(seen[_positive(calibrate)], budget.max_missed)
    below = tested[None, :] < np.array(rungs).reshape(-1, 1)  # (rungs, items)
    certificate, by_group = _certify(rungs, below, certify_on, budget, groups)
    place = rungs.index(certificate.threshold) if certificate.certified else None
    return _decided(
        fusion,
        (certificate, by_group),
        seen[~_positive(calibrate)],
        (certify_on, below[place] if place is not None else np.zeros(len(tested), bool)),
        (evaluate, probabilities(evaluate, fusion)),
    )


def decide_cross_fitted(
    scored: Sequence[Scored], views: Sequence[str], budget: Budget, groups: Sequence[str] = ()
) -> Decided:
    """Let every fold be judged by the others, and ship what all items together choose.

    A rung is a place on the ladder, not a number: each fold tests the threshold that the other folds put there.
    """
    fold = np.array([item.fold for item in scored])
    positive = _positive(scored)
    fusion = fit_fusion(scored, views)
    every = probabilities(scored, fusion)
    rungs = ladder(every[positive], budget.max_missed)
    held_out = np.empty(len(scored))
    below = np.zeros((len(rungs), len(scored)), bool)
    for k in np.unique(fold):
        others = [item for item, own in zip(scored, fold == k, strict=True) if not own]
        fold_fusion = fit_fusion(others, views)
        own = probabilities([item for item in scored if item.fold == k], fold_fusion)
        held_out[fold == k] = own
        fold_rungs = ladder(probabilities(others, fold_fusion)[_positive(others)], budget.max_missed)
        for place in range(len(rungs)):
            below[place, fold == k] = own < fold_rungs[min(place, len(fold_rungs) - 1)]
    certificate, by_group = _certify(rungs, below, scored, budget, groups)
    # what ships is the threshold of all items together, on scores that no item had a part in
    cleared = held_out < certificate.threshold
    return _decided(fusion, (certificate, by_group), every[~positive], (scored, cleared), (scored, held_out))


def suspect_from(genuine_scores: Scores, authentic_below: float) -> float:
    """Return the lowest threshold, at least 0.5 and ``authentic_below``, that flags at most 1 % of genuine items."""
    ordered = np.sort(genuine_scores)
    allowed = int(MAX_FALSE_SUSPECTS * ordered.size)
    edge = float(np.nextafter(ordered[ordered.size - 1 - allowed], 2.0)) if ordered.size else 1.0
    return min(max(edge, 0.5, authentic_below), 1.0)


def evaluate_items(
    items: Sequence[tuple[str, bool]],
    p_counterfeit: Mapping[str, float],
    thresholds: Thresholds,
    p_fraud: Mapping[str, float | None],
    fraud_uncertain_from: float | None,
) -> Evaluation:
    """Report on items that chose nothing, with the verdicts that the station would give.

    Args:
        items: (item_id, whether counterfeit).
        p_counterfeit: by item_id.
        thresholds: of the variant.
        p_fraud: by item_id; ignored without a listing model.
        fraud_uncertain_from: of the listing model, if any.
    """
    verdicts: dict[str, Verdict] = {}
    for item_id, _ in items:
        prediction = Prediction(p_counterfeit=p_counterfeit[item_id], p_fraud=p_fraud.get(item_id))
        verdicts[item_id], _ = decide(prediction, thresholds, fraud_uncertain_from)
    fakes = [item_id for item_id, counterfeit in items if counterfeit]
    genuine = [item_id for item_id, counterfeit in items if not counterfeit]
    right = sum((p_counterfeit[item_id] >= 0.5) == counterfeit for item_id, counterfeit in items)
    return Evaluation(
        far=rate(sum(verdicts[i] == "authentic" for i in fakes), len(fakes)),
        frr=rate(sum(verdicts[i] == "suspect" for i in genuine), len(genuine)),
        genuine_review=rate(sum(verdicts[i] != "authentic" for i in genuine), len(genuine)),
        review=rate(sum(verdict != "authentic" for verdict in verdicts.values()), len(items)),
        accuracy=rate(right, len(items)),
        auc=auc(np.array([p_counterfeit[i] for i in fakes]), np.array([p_counterfeit[i] for i in genuine])),
    )


def _certify(
    rungs: Sequence[float],
    below: npt.NDArray[np.bool_],
    items: Sequence[Scored],
    budget: Budget,
    groups: Sequence[str],
) -> tuple[Certificate, Mapping[str, tuple[int, int]]]:
    """Certify a ladder; ``below`` tells which item each rung clears, ``bool (rungs, items)``."""
    positive = _positive(items)
    of_group = {group: positive & np.array([item.group == group for item in items], bool) for group in groups}
    misses = {group: below[:, chosen].sum(1).tolist() for group, chosen in of_group.items()}
    certificate = certify(
        list(zip(rungs, below[:, positive].sum(1).tolist(), strict=True)),
        int(positive.sum()),
        budget,
        [(int(of_group[group].sum()), misses[group]) for group in groups],
    )
    place = list(rungs).index(certificate.threshold) if certificate.certified else None
    return certificate, {
        group: (int(chosen.sum()), misses[group][place] if place is not None else 0)
        for group, chosen in of_group.items()
    }


def _decided(
    fusion: Fusion,
    proof: tuple[Certificate, Mapping[str, tuple[int, int]]],
    choosing: Scores,
    tested: tuple[Sequence[Scored], npt.NDArray[np.bool_]],
    reported: tuple[Sequence[Scored], Scores],
) -> Decided:
    """Put the parts together.

    Args:
        fusion: as fitted.
        proof: certificate, and what it found in each group.
        choosing: scores of the negative items that choose ``suspect_from``.
        tested: the items that certified, and which of them the threshold clears.
        reported: the items to report on, and their probabilities.
    """
    certificate, groups = proof
    items, cleared = tested
    positive = _positive(items)
    return Decided(
        fusion=fusion,
        thresholds=Thresholds(
            authentic_below=certificate.threshold, suspect_from=suspect_from(choosing, certificate.threshold)
        ),
        certificate=certificate,
        groups=groups,
        genuine=int((~positive).sum()),
        reviewed=int((~positive & ~cleared).sum()),
        missed=frozenset(item.item_id for item, miss in zip(items, positive & cleared, strict=True) if miss),
        probabilities=dict(zip([item.item_id for item in reported[0]], reported[1].tolist(), strict=True)),
    )


def _regress(x: Scores, y: npt.NDArray[np.bool_]) -> tuple[Scores, float]:
    scale = x.std(axis=0) + 1e-9
    model = LogisticRegression(C=1.0, max_iter=1000).fit(x / scale, y)
    return model.coef_[0] / scale, float(model.intercept_[0])


def _mean(item: Scored, view: str) -> float:
    values = [v for group in item.logits.values() for v in group] if view == ANY_VIEW else item.logits.get(view, ())
    return float(np.mean(values)) if len(values) else 0.0


def _positive(scored: Sequence[Scored]) -> npt.NDArray[np.bool_]:
    return np.array([item.positive for item in scored], bool)
