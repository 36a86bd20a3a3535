"""What a labelled set can prove: exact binomial bounds, fixed-sequence tests, and what a claim would still need.

Pure statistics on scores and labels; knows no model and opens no file. A *miss* is a counterfeit that a threshold calls
authentic; the missed rate (false-accept rate) does not depend on how common counterfeits are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Scores = npt.NDArray[np.float64]

MAX_FALSE_SUSPECTS = 0.01
"""Share of the calibrate split's genuine items that ``suspect_from`` may flag; suspects go to a human anyway."""

_STEPS_BELOW = (4.0, 3.0, 2.0, 1.5, 1.0, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``count`` of ``n``, with its exact two-sided interval at ``confidence`` (Clopper and Pearson 1934)."""

    count: int
    n: int
    low: float
    high: float
    confidence: float

    @property
    def value(self) -> float:
        """The point estimate; NaN where ``n`` is 0."""
        return self.count / self.n if self.n else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the business allows: a missed rate, at an error level (1 - confidence, already divided over the claims)."""

    max_missed: float
    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of the ladder as tested: threshold, misses among ``n`` counterfeits, p-value, and whether it holds."""

    threshold: float
    misses: int
    n: int
    p_value: float
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What the certify split proved.

    ``threshold`` is 0 where nothing holds: then nothing is called authentic, and everything goes to an expert.
    ``upper_bound`` is the one-sided bound of the chosen rung. ``more_counterfeits`` is how many more counterfeit items
    without a miss the strictest rung would need, in the groups that lack them (0 where certified). ``power`` is the
    chance that a model at a quarter of the budget passes a test of this size.
    """

    certified: bool
    threshold: float
    upper_bound: float
    n: int
    misses: int
    more_counterfeits: int
    power: float
    rungs: tuple[Rung, ...]


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


def rate(count: int, n: int, confidence: float = 0.95) -> Rate:
    """Return ``count / n`` with its exact interval; [0, 1] where ``n`` is 0."""
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(count, n - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return Rate(count=count, n=n, low=low, high=high, confidence=confidence)


def upper_bound(misses: float, n: int, alpha: float) -> float:
    """Return the exact one-sided upper bound of a rate after ``misses`` in ``n``, wrong with probability ``alpha``."""
    return float(special.betaincinv(misses + 1, n - misses, 1 - alpha)) if misses < n else 1.0


def p_value(misses: int, n: int, max_missed: float) -> float:
    """Return P(at most ``misses`` of ``n`` | true rate = ``max_missed``): small means that the budget holds."""
    return float(special.bdtr(misses, n, max_missed))


def items_needed(budget: Budget, misses: int = 0) -> int:
    """Return the smallest number of counterfeits with which a budget is proved despite ``misses`` misses."""
    low, high = misses + 1, misses + 2
    while p_value(misses, high, budget.max_missed) > budget.alpha:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if p_value(misses, middle, budget.max_missed) <= budget.alpha:
            high = middle
        else:
            low = middle + 1
    return low


def allowed_misses(n: int, budget: Budget) -> int:
    """Return the most misses among ``n`` with which the budget is proved; -1 where not even none is enough."""
    misses = -1
    while misses + 1 <= n and p_value(misses + 1, n, budget.max_missed) <= budget.alpha:
        misses += 1
    return misses


def power(n: int, budget: Budget, true_rate: float) -> float:
    """Return the chance that a model with this true missed rate is certified on ``n`` counterfeits."""
    allowed = allowed_misses(n, budget)
    return float(special.bdtr(allowed, n, true_rate)) if allowed >= 0 else 0.0


def ladder(counterfeit_scores: Scores, max_missed: float) -> tuple[float, ...]:
    """Choose a short ladder of thresholds on the calibrate split, strictest first.

    The first rungs lie below every counterfeit seen (the least score, moved down in logit); the next let through one
    more of the seen counterfeits each, as far as one and a half times the budget. A strict rung costs the looser ones
    nothing: it has no more misses than they, so it holds whenever they do.

    Args:
        counterfeit_scores: P(counterfeit) of the calibrate split's counterfeits, ``float64 (n,)``.
        max_missed: the budget.

    Returns:
        Distinct rising thresholds in (0, 1); empty where there are no scores.
    """
    if counterfeit_scores.size == 0:
        return ()
    ordered = np.sort(counterfeit_scores.clip(1e-6, 1 - 1e-6))
    least = math.log(ordered[0] / (1 - ordered[0]))
    below = [1 / (1 + math.exp(-(least - step))) for step in _STEPS_BELOW]
    reach = min(math.floor(1.5 * max_missed * ordered.size) + 1, ordered.size)
    return tuple(sorted({*below, *(float(score) for score in ordered[:reach])}))


def suspect_from(genuine_scores: Scores, authentic_below: float) -> float:
    """Return the lowest threshold, at least 0.5 and ``authentic_below``, that flags at most 1 % of genuine items."""
    ordered = np.sort(genuine_scores)
    allowed = int(MAX_FALSE_SUSPECTS * ordered.size)
    edge = float(np.nextafter(ordered[ordered.size - 1 - allowed], 2.0)) if ordered.size else 1.0
    return min(max(edge, 0.5, authentic_below), 1.0)


def certify(
    tested: Sequence[tuple[float, int]],
    n: int,
    budget: Budget,
    groups: Sequence[tuple[int, Sequence[int]]] = (),
) -> Certificate:
    """Test a ladder from its strictest rung and stop at the first failure (fixed-sequence testing, Maurer et al. 1995).

    As each rung is tested only after all stricter ones held, every test may spend the whole error level. A rung holds
    if the budget holds over all items and in every group: its p-value is the greatest of theirs.

    Args:
        tested: (threshold, misses among the certify split's counterfeits), strictest first.
        n: counterfeits of the certify split.
        budget: with the error level of this one claim.
        groups: by group with a claim of its own: its counterfeits, and its misses at every rung.
    """
    rungs: list[Rung] = []
    for place, (threshold, misses) in enumerate(tested):
        p = p_value(misses, n, budget.max_missed) if n else 1.0
        p = max([p, *(p_value(missed[place], size, budget.max_missed) for size, missed in groups)])
        rungs.append(Rung(threshold=threshold, misses=misses, n=n, p_value=p, holds=p <= budget.alpha))
        if not rungs[-1].holds:
            break
    best = next((rung for rung in reversed(rungs) if rung.holds), None)
    needed = items_needed(budget, rungs[0].misses if rungs else 0) - n
    in_groups = sum(max(items_needed(budget, missed[0]) - size, 0) for size, missed in groups) if rungs else 0
    return Certificate(
        certified=best is not None,
        threshold=best.threshold if best else 0.0,
        upper_bound=upper_bound(best.misses, n, budget.alpha) if best else 1.0,
        n=n,
        misses=best.misses if best else 0,
        more_counterfeits=0 if best else max(needed, in_groups, 1),
        power=power(n, budget, budget.max_missed / 4),
        rungs=tuple(rungs),
    )


def admit_groups(
    counterfeits: Mapping[str, int], variants: int, review: bool, confidence: float, max_missed: float
) -> tuple[str, ...]:
    """Choose the groups that get a claim of their own: as many as can still prove the budget without a miss.

    Every claim more divides the error level further, so the largest groups come first. Only the numbers of items are
    looked at, never a score.

    Args:
        counterfeits: of the certify items, by group.
        variants: that are judged.
        review: whether there is a review budget, which is one claim more a variant.
        confidence: of all claims together.
        max_missed: the budget.
    """
    ordered = sorted(counterfeits, key=lambda group: (-counterfeits[group], group))
    if len(ordered) < 2:  # one group alone is the overall claim
        return ()
    for size in range(len(ordered), 0, -1):
        alpha = (1 - confidence) / (variants * (1 + size + review))
        needed = items_needed(Budget(max_missed=max_missed, alpha=alpha))
        if counterfeits[ordered[size - 1]] >= needed and sum(counterfeits.values()) >= needed:
            return tuple(sorted(ordered[:size]))
    return ()


def review_bound(reviewed: float, genuine: int, prevalence: float, alpha: float) -> float:
    """Return the upper bound of the share of items that go to review: every counterfeit, and so many genuine ones."""
    return prevalence + (1 - prevalence) * upper_bound(reviewed, genuine, alpha)


def genuine_needed(reviewed: int, genuine: int, prevalence: float, max_review: float, alpha: float) -> int | None:
    """Return how many more genuine items, reviewed at the rate seen, would prove a review budget; ``None``: none would.

    Args:
        reviewed: genuine items not called authentic.
        genuine: all genuine certify items.
        prevalence: share of counterfeits assumed.
        max_review: the budget.
        alpha: error level of this claim.
    """
    if review_bound(reviewed, genuine, prevalence, alpha) <= max_review:
        return 0
    share = reviewed / genuine if genuine else 0.0
    if prevalence + (1 - prevalence) * share >= max_review:
        return None
    low, high = genuine, max(genuine, 1) * 2
    # the rate seen is not rounded to whole items, so that the bound falls steadily with their number
    while review_bound(share * high, high, prevalence, alpha) > max_review:
        low, high = high, high * 2
        if high > 10**9:
            return None
    while low + 1 < high:
        middle = (low + high) // 2
        if review_bound(share * middle, middle, prevalence, alpha) <= max_review:
            high = middle
        else:
            low = middle
    return high - genuine


def auc(positive: Scores, negative: Scores) -> float | None:
    """Return the area under the ROC curve (Mann-Whitney, ties count half); ``None`` where a class is empty."""
    if not positive.size or not negative.size:
        return None
    _, place, count = np.unique(np.concatenate([positive, negative]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # ties share their mean rank
    u = ranks[: positive.size].sum() - positive.size * (positive.size + 1) / 2
    return float(u / (positive.size * negative.size))
