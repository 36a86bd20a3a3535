"""From logits to thresholds that hold a budget: the rule that scores, the ladder, the certificate, the report.

Pure functions on scored items. Two ways to the same certificate: *split* (calibrate chooses, certify tests, evaluate
reports), and *cross-fitted* for small sets (each fold is judged by a head, a fusion and thresholds that never saw it;
the pooled misses are treated as one binomial sample, which is an approximation and is said so in the evidence).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimize.risk import Budget, Certificate, Evaluation, Scores, auc, certify, ladder, rate, suspect_from
from optimize.rule import Rule, Scored, clearing, fit_rule, positives, probabilities
from runtime.contracts.bundle import Thresholds
from runtime.contracts.records import Prediction, Verdict
from runtime.policy import decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A rule and thresholds with their certificate, and every reported item's probability.

    ``groups`` holds, by group with a claim, its counterfeits and misses at the threshold. ``genuine`` and ``reviewed``
    count the negative items that did not choose the threshold, and those of them that it does not clear. ``missed`` are
    the positive items among them that it does. ``sure`` are the items that tested which a cascade's first stage decides
    alone. ``steady`` are the reported items that another CPU would leave to the same stage.
    """

    rule: Rule
    thresholds: Thresholds
    certificate: Certificate
    groups: Mapping[str, tuple[int, int]]
    genuine: int
    reviewed: int
    missed: frozenset[str]
    sure: frozenset[str]
    steady: frozenset[str]
    probabilities: Mapping[str, float]

    @property
    def review(self) -> float:
        """Share of negative items that go to review; 1 where there are none."""
        return self.reviewed / self.genuine if self.genuine else 1.0


def decide_split(
    calibrate: Sequence[Scored],
    certify_on: Sequence[Scored],
    evaluate: Sequence[Scored],
    views: Sequence[str],
    budget: Budget,
    groups: Sequence[str] = (),
) -> Decided:
    """Choose on calibrate, test on certify (overall and in every group with a claim), report on evaluate."""
    rule = fit_rule(calibrate, views, budget.max_missed)
    rungs = ladder(clearing(calibrate, rule)[positives(calibrate)], budget.max_missed)
    tested = clearing(certify_on, rule)
    below = tested[None, :] < np.array(rungs).reshape(-1, 1)  # (rungs, items)
    certificate, by_group = _certify(rungs, below, certify_on, budget, groups)
    rule = rule.at(certificate.threshold)
    return _decided(
        rule,
        (certificate, by_group),
        probabilities(calibrate, rule)[~positives(calibrate)],
        (certify_on, tested < certificate.threshold),
        frozenset(item.item_id for item in certify_on if rule.sure(item)),
        (evaluate, probabilities(evaluate, rule)),
    )


def decide_cross_fitted(
    scored: Sequence[Scored], views: Sequence[str], budget: Budget, groups: Sequence[str] = ()
) -> Decided:
    """Let every fold be judged by the others, and ship what all items together choose.

    A rung is a place on the ladder, not a number: each fold tests the threshold that the other folds put there.
    """
    fold = np.array([item.fold for item in scored])
    positive = positives(scored)
    rule = fit_rule(scored, views, budget.max_missed)
    rungs = ladder(clearing(scored, rule)[positive], budget.max_missed)
    below = np.zeros((len(rungs), len(scored)), bool)
    fold_rules: dict[int, Rule] = {}
    for k in np.unique(fold):
        judged = [item for item in scored if item.fold == k]
        others = [item for item in scored if item.fold != k]
        fold_rules[k] = fit_rule(others, views, budget.max_missed)
        fold_rungs = ladder(clearing(others, fold_rules[k])[positives(others)], budget.max_missed)
        own = clearing(judged, fold_rules[k])
        for place in range(len(rungs)):
            below[place, fold == k] = own < fold_rungs[min(place, len(fold_rungs) - 1)]
    certificate, by_group = _certify(rungs, below, scored, budget, groups)
    # what ships is the threshold of all items together, on scores that no item had a part in
    by_fold = {k: fold_rule.at(certificate.threshold) for k, fold_rule in fold_rules.items()}
    held_out = np.array([by_fold[item.fold].probability(item) for item in scored], np.float64)
    rule = rule.at(certificate.threshold)
    return _decided(
        rule,
        (certificate, by_group),
        probabilities(scored, rule)[~positive],
        (scored, held_out < certificate.threshold),
        frozenset(item.item_id for item in scored if by_fold[item.fold].sure(item)),
        (scored, held_out),
    )


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
    positive = positives(items)
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
    rule: Rule,
    proof: tuple[Certificate, Mapping[str, tuple[int, int]]],
    choosing: Scores,
    tested: tuple[Sequence[Scored], npt.NDArray[np.bool_]],
    sure: frozenset[str],
    reported: tuple[Sequence[Scored], Scores],
) -> Decided:
    """Put the parts together.

    Args:
        rule: as fitted.
        proof: certificate, and what it found in each group.
        choosing: scores of the negative items that choose ``suspect_from``.
        tested: the items that certified, and which of them the threshold clears.
        sure: those of them that the first stage decides alone.
        reported: the items to report on, and their probabilities.
    """
    certificate, groups = proof
    items, cleared = tested
    positive = positives(items)
    return Decided(
        rule=rule,
        thresholds=Thresholds(
            authentic_below=certificate.threshold, suspect_from=suspect_from(choosing, certificate.threshold)
        ),
        certificate=certificate,
        groups=groups,
        genuine=int((~positive).sum()),
        reviewed=int((~positive & ~cleared).sum()),
        missed=frozenset(item.item_id for item, miss in zip(items, positive & cleared, strict=True) if miss),
        sure=sure,
        steady=frozenset(item.item_id for item in reported[0] if rule.steady(item)),
        probabilities=dict(zip([item.item_id for item in reported[0]], reported[1].tolist(), strict=True)),
    )
