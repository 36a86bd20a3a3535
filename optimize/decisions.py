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

from optimize.risk import Budget, Certificate, Rate, Scores, auc, certify, ladder, misses_below, rate
from runtime.contracts.bundle import ANY_VIEW, Fusion, Thresholds
from runtime.contracts.records import Prediction, Verdict
from runtime.policy import decide, fuse

MAX_FALSE_SUSPECTS = 0.01
"""Share of the calibrate split's genuine items that ``suspect_from`` may flag; suspects go to a human anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One item: logits by view, whether it is positive (counterfeit, or fraud), and its fold where cross-fitted."""

    item_id: str
    positive: bool
    logits: Mapping[str, Sequence[float]]
    fold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What evaluate shows, each rate with its exact 95 % interval.

    ``far``: counterfeits called authentic. ``frr``: genuine items called suspect. ``genuine_review``: genuine items not
    called authentic. ``review``: all items not called authentic, at the set's own prevalence. ``accuracy``: P >= 0.5
    against the label, with no abstention.
    """

    far: Rate
    frr: Rate
    genuine_review: Rate
    review: Rate
    accuracy: Rate
    auc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A fusion and thresholds with their certificate, and every reported item's probability.

    ``review`` is the share of negative items that ``authentic_below`` does not clear, on items that did not choose it.
    """

    fusion: Fusion
    thresholds: Thresholds
    certificate: Certificate
    probabilities: Mapping[str, float]
    review: float


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
) -> Decided:
    """Choose on calibrate, test on certify, report on evaluate."""
    fusion = fit_fusion(calibrate, views)
    seen, tested = probabilities(calibrate, fusion), probabilities(certify_on, fusion)
    positives = tested[_positive(certify_on)]
    rungs = ladder(seen[_positive(calibrate)], budget.max_missed)
    certificate = certify([(t, misses_below(t, positives)) for t in rungs], len(positives), budget)
    reported = probabilities(evaluate, fusion)
    negatives = (seen[~_positive(calibrate)], tested[~_positive(certify_on)])
    return _decided(fusion, certificate, negatives, evaluate, reported)


def decide_cross_fitted(scored: Sequence[Scored], views: Sequence[str], budget: Budget) -> Decided:
    """Let every fold be judged by the others, and ship what all items together choose.

    A rung is a place on the ladder, not a number: each fold tests the threshold that the other folds put there.
    """
    fold = np.array([item.fold for item in scored])
    positive = _positive(scored)
    fusion = fit_fusion(scored, views)
    every = probabilities(scored, fusion)
    rungs = ladder(every[positive], budget.max_missed)
    held_out = np.empty(len(scored))
    misses = np.zeros(len(rungs), int)
    for k in np.unique(fold):
        others = [item for item, own in zip(scored, fold == k, strict=True) if not own]
        fold_fusion = fit_fusion(others, views)
        own = probabilities([item for item in scored if item.fold == k], fold_fusion)
        held_out[fold == k] = own
        fold_rungs = ladder(probabilities(others, fold_fusion)[_positive(others)], budget.max_missed)
        for place in range(len(rungs)):
            threshold = fold_rungs[min(place, len(fold_rungs) - 1)]
            misses[place] += misses_below(threshold, own[positive[fold == k]])
    certificate = certify(list(zip(rungs, misses.tolist(), strict=True)), int(positive.sum()), budget)
    return _decided(fusion, certificate, (every[~positive], held_out[~positive]), scored, held_out)


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


def _decided(
    fusion: Fusion,
    certificate: Certificate,
    negatives: tuple[Scores, Scores],
    reported: Sequence[Scored],
    p: Scores,
) -> Decided:
    """Put the parts together; ``negatives`` are those that choose ``suspect_from``, and those that show the review."""
    choosing, showing = negatives
    threshold = certificate.threshold
    return Decided(
        fusion=fusion,
        thresholds=Thresholds(authentic_below=threshold, suspect_from=suspect_from(choosing, threshold)),
        certificate=certificate,
        probabilities=dict(zip([item.item_id for item in reported], p.tolist(), strict=True)),
        review=float((showing >= threshold).mean()) if showing.size else 1.0,
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
