"""The page's parts about decisions: certificates, rates, curves, scores, what is missed, the listing, the baseline."""

from __future__ import annotations

import numpy as np

from optimize import page_plots
from optimize.evidence import Claims, Decision, Evidence, VariantEvidence
from optimize.page_markup import Markup, figure, join, listing, marked, paragraph, table
from optimize.page_plots import Scores
from optimize.wording import (
    budget_text,
    confidence_text,
    counterfeits_among_accepted,
    listing_text,
    number,
    percent,
    rate_text,
)

_MOST_PANELS = 9
_MOST_ITEMS = 60


def proofs(evidence: Evidence) -> Markup:
    """Return what was claimed, and what was found for it on the certify items, for every variant that was judged."""
    claims, judged = evidence.claims, _judged(evidence)
    if claims is None or not judged:
        return Markup("")
    photos = "Shares that go to an expert are by photos alone here; the listing model sends more."
    beside = paragraph(photos, "note") if evidence.listing is not None else Markup("")
    return join(
        _claimed(claims), _certificates(judged, claims), beside, _ladder(evidence), _among_accepted(evidence, claims)
    )


def rates(evidence: Evidence) -> Markup:
    """Return the rates and confusions on the reported items, with exact 95 % intervals."""
    judged = _judged(evidence)
    if not judged or not evidence.reported:
        return Markup("")
    rows = [
        (
            one.name,
            rate_text(found.evaluation.far),
            rate_text(found.evaluation.frr),
            rate_text(found.evaluation.genuine_review),
            rate_text(found.evaluation.accuracy),
            number(found.evaluation.auc),
        )
        for one, found in judged
    ]
    header = ("variant", "missed", "false suspects", "genuine to an expert", "accuracy, no abstention", "AUC")
    return join(
        table("Rates on the reported items, as a station decides, each with its exact 95 % interval", header, rows),
        _confusion(evidence),
    )


def curves(evidence: Evidence) -> Markup:
    """Return risk-coverage and reliability curves of the accepted variants."""
    panels = _panels(evidence)
    if not panels:
        return _too_few(evidence)
    prevalence = evidence.claims.prevalence if evidence.claims else None
    own = sum(item.counterfeit for item in evidence.reported) / len(evidence.reported)
    assumed = (
        f"at the assumed prevalence of {budget_text(prevalence)}"
        if prevalence is not None
        else f"at these items' own prevalence of {own:.0%}, which is not the market's"
    )
    return join(
        figure(
            page_plots.risk_coverage(panels, prevalence),
            f"Risk and coverage on the {len(evidence.reported):,} reported items, {assumed}, as the threshold of "
            "authentic rises; the ring stands at the variant's threshold. By photos alone; it "
            "shows, and bounds nothing; the steep end is cut off.",
        ),
        figure(
            page_plots.reliability(panels),
            "Reliability: in bins of equally many items, what the variant states against what is so, with exact 95 % "
            "intervals; a calibrated score lies on the dashed line where the set has the prevalence it was fitted on.",
        ),
    )


def scores(evidence: Evidence) -> Markup:
    """Return histograms of the scores by class, a panel an accepted variant, and by group for the preferred one."""
    panels = _panels(evidence)
    if not panels:
        return _too_few(evidence)
    accepted = sum(one.accepted for one, _ in _judged(evidence))
    lines = "Counts are on a logarithmic scale."
    lines += f" {len(panels)} of {accepted} variants are drawn." if accepted > len(panels) else ""
    parts = [
        figure(
            page_plots.histograms(panels, "variant"),
            f"Scores of the reported items by class, genuine + counterfeit. {lines}",
        )
    ]
    groups = [group for group in _by_group(evidence) if group.p.size]
    if groups:
        caption = f"Scores by group for {panels[0].name}: the {len(groups)} largest groups. {lines}"
        parts.append(figure(page_plots.histograms(groups, "group"), caption))
    return join(*parts)


def missed_beyond_float(evidence: Evidence) -> Markup:
    """Return the counterfeits that a variant misses and float does not, with the exact bound."""
    parts: list[Markup] = []
    for one, found in _judged(evidence):
        worse = found.regressions
        if worse is None or not found.certificate.certified:
            continue
        parts.append(
            paragraph(
                f"{one.name}: {len(worse.items)} of {worse.n:,} counterfeits, so at most {percent(worse.upper_bound)} "
                f"with {worse.confidence:.0%} confidence (of this one figure, not a claim of the bundle)."
            )
        )
        parts += [listing(worse.items, _MOST_ITEMS)] if worse.items else []
    if not parts:
        return Markup("")
    explained = (
        "Certify items that the variant calls authentic and the float model does not, each at its own threshold."
    )
    return join(paragraph(explained, "note"), *parts)


def baselines(evidence: Evidence) -> Markup:
    """Return what colour statistics alone reach, and what the listing model does."""
    parts: list[Markup] = []
    if evidence.colour_baseline_auc is not None:
        parts.append(
            paragraph(
                f"Colour statistics alone, which know nothing of authenticity, reach an AUC of "
                f"{evidence.colour_baseline_auc:.3f} on these photos: what is near that may have learnt the lighting."
            )
        )
    if evidence.listing is not None and evidence.claims is not None:
        parts.append(paragraph(listing_text(evidence.listing, evidence.claims)))
    return join(*parts)


def _judged(evidence: Evidence) -> list[tuple[VariantEvidence, Decision]]:
    found = [(one, one.decision) for one in evidence.variants if one.decision is not None]
    return sorted(found, key=lambda pair: pair[0].name != evidence.preferred)


def _claimed(claims: Claims) -> Markup:
    text = f"Claimed of each variant: at most {budget_text(claims.max_missed)} of counterfeits pass as authentic"
    text += f", over all items and in each of {', '.join(claims.groups)}" if claims.groups else ""
    if claims.max_review is not None and claims.prevalence is not None:
        text += (
            f"; at most {budget_text(claims.max_review)} of items go to an expert where "
            f"{budget_text(claims.prevalence)} are counterfeit"
        )
    return paragraph(f"{text}. All of it together with {confidence_text(claims)}, on certify items that chose nothing.")


def _certificates(judged: list[tuple[VariantEvidence, Decision]], claims: Claims) -> Markup:
    rows: list[tuple[str, ...]] = []
    for one, found in judged:
        certificate = found.certificate
        answer = marked("good", "proved") if certificate.certified else marked("bad", "not proved")
        needed = f"{certificate.more_counterfeits:,} more counterfeits" if certificate.more_counterfeits else "-"
        bound = percent(certificate.upper_bound) if certificate.certified else "-"
        misses = f"{certificate.misses} of {certificate.n:,}" if certificate.certified else f"n = {certificate.n:,}"
        rows.append((one.name, "missed, all items", answer, misses, bound, needed))
        rows += [
            (
                one.name,
                f"missed, {group.group}",
                marked("good", "proved"),
                f"{group.misses} of {group.n:,}",
                percent(group.upper_bound),
                "-",
            )
            for group in found.groups
        ]
        if found.review is not None:
            rows.append((one.name, *_review(found)))
    caption = f"What the certify items proved; each bound is one-sided, with {confidence_text(claims)}"
    return table(
        caption,
        ("variant", "claim", "answer", "found", "upper bound", "would need"),
        rows,
        ("", "", "figure", "figure"),
    )


def _review(found: Decision) -> tuple[str, ...]:
    review = found.review
    assert review is not None
    more = f"{review.more_genuine:,} more genuine items" if review.more_genuine else "no number would do"
    return (
        "to an expert",
        marked("good", "proved") if review.holds else marked("bad", "not proved"),
        f"{review.reviewed:,} of {review.genuine:,} genuine",
        f"{review.upper_bound:.1%} of all items",
        "-" if review.holds else more,
    )


def _ladder(evidence: Evidence) -> Markup:
    """Return the preferred variant's thresholds as they were tested, in order."""
    decision = evidence.variant(evidence.preferred).decision
    if decision is None:
        return Markup("")
    certificate = decision.certificate
    rows = [
        (
            f"{rung.threshold:.4g}",
            f"{rung.misses} of {rung.n:,}",
            f"{rung.p_value:.2g}",
            "holds" if rung.holds else "fails",
        )
        for rung in certificate.rungs
    ]
    caption = (
        f"Thresholds of {evidence.preferred} as they were tested, strictest first, until one failed; a model at a "
        f"quarter of the budget passes a test of this size with a chance of {certificate.power:.0%} (power)"
    )
    return table(caption, ("authentic below", "missed", "p-value", "answer"), rows)


def _among_accepted(evidence: Evidence, claims: Claims) -> Markup:
    share = counterfeits_among_accepted(evidence.variant(evidence.preferred), claims)
    if share is None or claims.prevalence is None:
        return paragraph(
            "Nothing is said of the share of counterfeits among accepted items: it depends on how common they are, and "
            "needs a proof and an assumed prevalence.",
            "note",
        )
    return paragraph(
        f"Among items that {evidence.preferred} calls authentic, at most {percent(share)} are counterfeit if "
        f"{budget_text(claims.prevalence)} of all items are (assumed, not measured); with another prevalence it is "
        "another share, while the missed rate stays as it is.",
        "note",
    )


def _confusion(evidence: Evidence) -> Markup:
    fake = np.array([item.counterfeit for item in evidence.reported], bool)
    rows: list[tuple[str, ...]] = []
    for one, found in _judged(evidence):
        p = np.array(found.p)
        authentic, suspect = p < found.authentic_below, p >= found.suspect_from
        limits = f"{found.authentic_below:.3f} / {found.suspect_from:.3f}"
        for label, chosen in (("genuine", ~fake), ("counterfeit", fake)):
            counts = [int((chosen & side).sum()) for side in (authentic, ~authentic & ~suspect, suspect)]
            rows.append((one.name, limits, label, *map(str, counts)))
    header = ("variant", "thresholds", "really", "called authentic", "uncertain", "suspect")
    caption = "Confusion at the thresholds on the reported items, by photos alone"
    return table(caption, header, rows, ("figure",))


def _panels(evidence: Evidence) -> list[Scores]:
    """Return the accepted variants' scores, the preferred one first; none without reported items of both classes."""
    fake = np.array([item.counterfeit for item in evidence.reported], bool)
    if not fake.any() or fake.all():
        return []
    found = [
        Scores(
            name=one.name,
            p=np.array(decision.p, np.float64),
            counterfeit=fake,
            authentic_below=decision.authentic_below,
            suspect_from=decision.suspect_from,
        )
        for one, decision in _judged(evidence)
        if one.accepted
    ]
    return found[:_MOST_PANELS]


def _by_group(evidence: Evidence) -> list[Scores]:
    """Return the preferred variant's scores in the largest groups."""
    decision = evidence.variant(evidence.preferred).decision
    names = [item.group for item in evidence.reported]
    if decision is None:
        return []
    p, fake = np.array(decision.p, np.float64), np.array([item.counterfeit for item in evidence.reported], bool)
    ordered = sorted({name for name in names if name}, key=lambda name: (-names.count(name), name))[:_MOST_PANELS]
    chosen = {name: np.array([own == name for own in names], bool) for name in ordered}
    return [
        Scores(
            name=name,
            p=p[inside],
            counterfeit=fake[inside],
            authentic_below=decision.authentic_below,
            suspect_from=decision.suspect_from,
        )
        for name, inside in chosen.items()
    ]


def _too_few(evidence: Evidence) -> Markup:
    if evidence.claims is None:
        return Markup("")
    return paragraph("There are no reported items of both classes, so there is nothing to draw.", "note")
