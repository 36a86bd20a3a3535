"""How an item's logits become its P(counterfeit): by one fusion, or by a cascade. Fitted on the calibrate split alone.

Pure. A cascade is one rule with one P: that of the first stage where it is sure, and of the second where it is not, as
``runtime.policy`` says; so certificate and report treat it like any other variant. On the ladder both its thresholds
rise together: a rung that proves too loose takes back what the first stage was sure of, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special
from sklearn.linear_model import LogisticRegression

from optimize.risk import Scores, suspect_from
from runtime.contracts.bundle import ANY_VIEW, FirstStage, Fusion
from runtime.policy import fuse, is_sure, sigmoid

FIRST_STAGE_SHARE = 0.25
"""Of the budget, what a cascade's first stage may be expected to miss; the second stage has the rest."""
STEADY_LOGITS = 0.5
"""How far another CPU's rounding may move the first stage's score, and more."""

_EDGE = 1e-9  # a probability of 0 or 1 has no logit

Logits = Mapping[str, Sequence[float]]
"""View to the logits of its photos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One item: logits by view, whether it is positive (counterfeit, or fraud), its group, its fold if cross-fitted.

    ``first`` holds the logits of a cascade's first stage; ``None`` where there is none.
    """

    item_id: str
    positive: bool
    logits: Logits
    group: str | None = None
    fold: int = 0
    first: Logits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A fusion of the variant's own logits, and of a cascade its first stage, which has its file when it ships.

    ``lag`` is by how many logits ``sure_below`` stays under the threshold of authentic, at least.
    """

    fusion: Fusion
    first: FirstStage | None = None
    lag: float = 0.0

    def at(self, authentic_below: float) -> Rule:
        """Return the rule that ships with this threshold: its first stage is sure of no more than the lag allows."""
        if self.first is None:
            return self
        below = min(self.first.sure_below, _shifted(authentic_below, -self.lag))
        return replace(self, first=replace(self.first, sure_below=below))

    def clears_from(self, item: Scored) -> float:
        """Return above which threshold, with the rule at that threshold, an item is authentic; P for a plain rule."""
        p, first = self.first_says(item), self.first
        second = self.second_says(item)
        if first is None or p is None or first.sure_below <= p < first.sure_from:
            return second
        return p if p >= first.sure_from else min(_shifted(p, self.lag), second)

    def first_says(self, item: Scored) -> float | None:
        """Return P of the first stage; ``None`` without one, or where it cannot score the item."""
        return None if self.first is None or item.first is None else fuse(item.first, self.first.fusion)

    def sure(self, item: Scored) -> bool:
        """Whether the first stage decides the item alone."""
        return self.first is not None and is_sure(self.first_says(item), self.first)

    def probability(self, item: Scored) -> float:
        """Return P(counterfeit); 1 where a view is missing, since such an item is reviewed."""
        p = self.first_says(item)
        return p if p is not None and self.sure(item) else self.second_says(item)

    def second_says(self, item: Scored) -> float:
        """Return P of the variant's own network; 1 where a view is missing."""
        p = fuse(item.logits, self.fusion)
        return 1.0 if p is None else p

    def steady(self, item: Scored) -> bool:
        """Whether the same stage decides the item after a little rounding of the first stage's score."""
        if self.first is None or item.first is None:
            return True
        biases = (self.first.fusion.bias - STEADY_LOGITS, self.first.fusion.bias + STEADY_LOGITS)
        moved = [fuse(item.first, Fusion(bias=bias, weights=self.first.fusion.weights)) for bias in biases]
        return is_sure(moved[0], self.first) == is_sure(moved[1], self.first) == self.sure(item)


def fit_rule(scored: Sequence[Scored], views: Sequence[str], max_missed: float) -> Rule:
    """Fit the rule of one variant.

    A cascade's lag is the distance between where its first stage may be sure and the least counterfeit of its second,
    below which the ladder begins.

    Args:
        scored: items of the calibrate split; all with a first stage's logits for a cascade.
        views: of the model, of both stages.
        max_missed: the budget.
    """
    second = Rule(fusion=fit_fusion(scored, views))
    looked = [replace(item, logits=item.first, first=None) for item in scored if item.first is not None]
    if len(looked) < len(scored):
        return second
    first = fit_first(looked, views, max_missed)
    least = float(probabilities(scored, second)[positives(scored)].min())
    return replace(second, first=first, lag=max(_logit(least) - _logit(first.sure_below), 0.0))


def fit_first(scored: Sequence[Scored], views: Sequence[str], max_missed: float) -> FirstStage:
    """Fit the first stage of a cascade: its calibration, and below and from where it is sure.

    Args:
        scored: items of the calibrate split, with the first stage's logits.
        views: of the model.
        max_missed: the budget, of which the first stage may spend ``FIRST_STAGE_SHARE``.
    """
    fusion = fit_fusion(scored, views)
    p, positive = probabilities(scored, Rule(fusion=fusion)), positives(scored)
    below = sure_below(p[positive], FIRST_STAGE_SHARE * max_missed)
    return FirstStage(file="", px=0, fusion=fusion, sure_below=below, sure_from=suspect_from(p[~positive], below))


def sure_below(counterfeit_scores: Scores, share: float) -> float:
    """Return the highest score below which at most a share of further counterfeits is to be expected.

    It lies below the score of the k-th of n, k = floor(share * (n + 1)), but at least the first, which a further one
    undercuts with probability k / (n + 1) at most; and, as few counterfeits say little of so small a share, no higher
    than the prediction limit of a normal distribution of their logits (Hahn and Meeker 1991, section 4.8).

    Args:
        counterfeit_scores: P(counterfeit) of the calibrate split's counterfeits, ``float64 (n,)``.
        share: of the counterfeits, 0 to 1.

    Returns:
        0 where there are fewer than two counterfeits: nothing is sure.
    """
    n = counterfeit_scores.size
    if n < 2:
        return 0.0
    ordered = np.sort(counterfeit_scores)
    logits = np.array([_logit(p) for p in ordered.tolist()])
    spread = float(logits.std(ddof=1)) * math.sqrt(1 + 1 / n)
    limit = float(logits.mean()) + float(special.stdtrit(n - 1, share)) * spread
    return min(float(ordered[max(int(share * (n + 1)), 1) - 1]), sigmoid(limit))


def fit_fusion(scored: Sequence[Scored], views: Sequence[str]) -> Fusion:
    """Fit calibration and fusion at once: logistic regression of the label on each view's mean logit.

    A view whose weight would be negative is noise at this size; then all views share one weight.
    """
    y = positives(scored)
    x = np.array([[_mean(item, view) for view in views] for item in scored])
    weights, bias = _regress(x, y)
    if (weights <= 0).any():
        (shared,), bias = _regress(x.mean(axis=1, keepdims=True), y)
        weights = np.full(len(views), max(float(shared), 1e-3) / len(views))
    return Fusion(bias=bias, weights={view: float(w) for view, w in zip(views, weights, strict=True)})


def probabilities(scored: Sequence[Scored], rule: Rule) -> Scores:
    """Return every item's P(counterfeit), ``float64 (n,)``."""
    return np.array([rule.probability(item) for item in scored], np.float64)


def clearing(scored: Sequence[Scored], rule: Rule) -> Scores:
    """Return above which threshold every item is authentic, ``float64 (n,)``."""
    return np.array([rule.clears_from(item) for item in scored], np.float64)


def positives(scored: Sequence[Scored]) -> npt.NDArray[np.bool_]:
    """Return which items are positive, ``bool (n,)``."""
    return np.array([item.positive for item in scored], bool)


def _logit(p: float) -> float:
    p = min(max(p, _EDGE), 1 - _EDGE)
    return math.log(p / (1 - p))


def _shifted(p: float, by: float) -> float:
    """Return the probability whose logit is greater ``by`` so much."""
    return p / (p + (1 - p) * math.exp(-by))


def _regress(x: Scores, y: npt.NDArray[np.bool_]) -> tuple[Scores, float]:
    scale = x.std(axis=0) + 1e-9
    model = LogisticRegression(C=1.0, max_iter=1000).fit(x / scale, y)
    return model.coef_[0] / scale, float(model.intercept_[0])


def _mean(item: Scored, view: str) -> float:
    values = [v for group in item.logits.values() for v in group] if view == ANY_VIEW else item.logits.get(view, ())
    return float(np.mean(values)) if len(values) else 0.0
