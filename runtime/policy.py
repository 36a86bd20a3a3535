"""From logits to a verdict with reasons: pure functions, the only place where a decision is taken.

``authentic`` needs both probabilities, each below its threshold; whatever is missing sends the item to an expert.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from runtime.contracts.bundle import ANY_VIEW, FirstStage, Fusion, Thresholds
from runtime.contracts.records import Prediction, Reason, Verdict

_SAID_BY_THE_MODEL = frozenset({"no_score", "photos_differ", "photos_unclear", "listing_risky"})


def fuse(logits: Mapping[str, Sequence[float]], fusion: Fusion) -> float | None:
    """Fuse the logits of a scan into one calibrated probability.

    ``P = sigmoid(bias + sum over views of weight * mean logit)``: Platt scaling of a weighted sum (Platt 1999).
    With the one weight ``"*"`` views are exchangeable, and all photos share one mean.

    Args:
        logits: view to the logits of its photos.
        fusion: fitted on the calibrate split.

    Returns:
        A probability in [0, 1], or ``None`` where a weighted view has no photo or a logit is not finite.
    """
    if ANY_VIEW in fusion.weights:
        logits = {ANY_VIEW: [logit for values in logits.values() for logit in values]}
    total = fusion.bias
    for view, weight in fusion.weights.items():
        values = logits.get(view, ())
        if not values or not all(map(math.isfinite, values)):
            return None
        total += weight * (math.fsum(values) / len(values))
    return sigmoid(total) if math.isfinite(total) else None


def model_says(reasons: Iterable[Reason]) -> frozenset[str]:
    """Return the codes of what the model saw; what is missing, old or repeated is not its doing."""
    return _SAID_BY_THE_MODEL & {reason.code for reason in reasons}


def is_sure(p: float | None, first: FirstStage) -> bool:
    """Tell whether an item needs no second look; one that the first stage could not score needs it."""
    return p is not None and (p < first.sure_below or p >= first.sure_from)


def sigmoid(x: float) -> float:
    """Return ``1 / (1 + exp(-x))`` without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def missing_views(given: Mapping[str, Sequence[object]], required: Sequence[str]) -> tuple[str, ...]:
    """Return the required views that a scan lacks; an exchangeable model wants at least one photo of any name."""
    if tuple(required) == (ANY_VIEW,):
        return () if any(given.values()) else ("any",)
    return tuple(view for view in required if not given.get(view))


def decide(
    prediction: Prediction,
    thresholds: Thresholds,
    fraud_uncertain_from: float | None,
    missing: Sequence[str] = (),
    listing_stale: bool = False,
) -> tuple[Verdict, tuple[Reason, ...]]:
    """Decide one scan.

    Args:
        prediction: both probabilities.
        thresholds: of the variant that scored.
        fraud_uncertain_from: P(fraud) from which a listing wants an expert; ``None`` where the bundle has no listing
            model.
        missing: required views without a photo.
        listing_stale: P(fraud) is of features too old to confirm anything; a risky one still counts.

    Returns:
        The verdict, and at least one reason, the weightiest first.
    """
    p = prediction.p_counterfeit
    reasons = [Reason(code="missing_view", text=f"the view {view!r} has no photo") for view in missing]
    if p is None and not missing:
        reasons.append(Reason(code="no_score", text="the model gave no usable score for the photos"))
    if p is not None and p >= thresholds.suspect_from:
        return "suspect", (
            Reason(code="photos_differ", text=f"the photos differ from genuine items (P = {p:.3f})"),
            *reasons,
        )
    if p is not None and not p < thresholds.authentic_below:  # NaN is not below
        reasons.append(Reason(code="photos_unclear", text=f"the photos are not clear enough to confirm (P = {p:.3f})"))
    if fraud_uncertain_from is not None:
        if prediction.p_fraud is None:
            reasons.append(Reason(code="listing_missing", text="the listing features are missing or incomplete"))
        elif not prediction.p_fraud < fraud_uncertain_from:  # NaN is not below
            reasons.append(Reason(code="listing_risky", text=f"the listing is risky (P = {prediction.p_fraud:.3f})"))
        if prediction.p_fraud is not None and listing_stale:
            reasons.append(Reason(code="listing_stale", text="the listing features are too old to confirm anything"))
    if reasons:
        return "uncertain", tuple(reasons)
    return "authentic", (Reason(code="within_budget", text="all scores lie within the certified thresholds"),)
