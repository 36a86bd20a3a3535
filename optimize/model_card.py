"""A model card of a bundle, after Mitchell et al. 2019 (Model Cards for Model Reporting): Markdown for an auditor.

Claims nothing that the evidence does not: every bound has its n and its confidence, every plain rate its interval, and
what was not proved is listed as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from optimize.evidence import Claims, Decision, Evidence
from optimize.summary import what_is_needed, what_it_is, what_was_proved
from optimize.wording import (
    budget_text,
    confidence_text,
    counterfeits_among_accepted,
    first_stage_text,
    kernels_text,
    latency_text,
    listing_text,
    megabytes,
    missed_text,
    number,
    percent,
    rate_text,
    ratio_text,
    state,
)

CARD_FILE = "MODEL_CARD.md"

_MOST_GROUPS = 40


def model_card(name: str, created_at: str, evidence: Evidence) -> str:
    """Return the card.

    Args:
        name: of the bundle.
        created_at: when it was built, as its manifest says.
        evidence: all of it.
    """
    lines = [f"# Model card: {_plain(name)}", ""]
    lines += [_plain(one) + "\n" for one in (what_it_is(name, evidence), what_was_proved(evidence))]
    lines += [_plain(what_is_needed(evidence)), ""]
    for title, part in (
        ("Model details", _details(created_at, evidence)),
        ("Intended use", _intended(evidence)),
        ("Out of scope", _out_of_scope(evidence)),
        ("Data", _data(evidence)),
        ("Metrics", _metrics(evidence)),
        ("What is claimed", _claimed(evidence)),
        ("What is not claimed", _not_claimed(evidence)),
        ("Variants and devices", _variants(evidence)),
        ("Risks and limits", _limits(evidence)),
        ("How to verify", _verify()),
        ("Provenance", _provenance(evidence)),
    ):
        lines += [f"## {title}", "", *part, ""]
    return "\n".join(lines).rstrip() + "\n"


def _details(created_at: str, evidence: Evidence) -> Iterator[str]:
    source = evidence.source
    yield f"- Built: {_plain(created_at)}"
    yield f"- Kind of source: {source.kind}"
    yield "- Judged by: " + ("its decisions on labelled items" if evidence.claims else "its outputs alone")
    if source.parity is not None:
        yield (
            f"- Import: differs from its source by at most {source.parity.max_abs_error:.2g} on {source.parity.inputs} "
            f"inputs ({_plain(source.parity.of)})"
        )
    for note in (*source.notes, *evidence.notes):
        yield f"- Note: {_plain(note)}"


def _intended(evidence: Evidence) -> Iterator[str]:
    if evidence.claims is None:
        yield "To be run by programs of your own that know what its outputs mean. Stations refuse it."
        return
    yield (
        "To help a person at a station: it confirms items whose photos look clearly genuine, and hands all others to "
        "an expert. It is meant for items, views, cameras and light like those that it was certified on."
    )


def _out_of_scope(evidence: Evidence) -> Iterator[str]:
    if evidence.claims is None:
        yield "- Deciding on authenticity: nothing was measured of it."
        yield "- Inputs unlike the samples that it was compared on."
        return
    yield "- Accusing anybody: 'suspect' means that an expert must look, not that an item is counterfeit."
    yield "- Brands, kinds of items or counterfeits that the certify items do not hold."
    yield "- Deciding without an expert behind it: what is not authentic needs one."


def _data(evidence: Evidence) -> Iterator[str]:
    if not evidence.items:
        found = evidence.variant(evidence.preferred).fidelity
        yield f"No labelled items. Outputs were compared on {found.inputs if found else 0} inputs."
        return
    sides = [(side, f"{n.get('genuine', 0):,}", f"{n.get('counterfeit', 0):,}") for side, n in evidence.items.items()]
    yield from _table(("side", "genuine", "counterfeit"), sides)
    yield ""
    yield (
        "Calibrate chose ranges, thresholds and variants; certify chose nothing and tested them, once; evaluate is "
        "reported on."
    )
    if evidence.cross_fitted:
        yield "The set is small, so all of it is cross-fitted: each item is judged by a head that never saw it."
    groups = Counter((item.group, item.counterfeit) for item in evidence.reported if item.group)
    names = sorted({name for name, _ in groups if name}, key=lambda name: (-groups[name, True], name))
    if names:
        yield "\nReported items by group:\n"
        rows = [(name, str(groups[name, False]), str(groups[name, True])) for name in names[:_MOST_GROUPS]]
        yield from _table(("group", "genuine", "counterfeit"), rows)
        if len(names) > _MOST_GROUPS:
            yield f"\nand {len(names) - _MOST_GROUPS} smaller groups."


def _metrics(evidence: Evidence) -> Iterator[str]:
    variant = evidence.variant(evidence.preferred)
    if variant.decision is None:
        found = variant.fidelity
        if found is None:
            yield "The preferred variant's outputs could not be compared on the machine that built it."
            return
        agreement = "" if found.top1_agreement is None else f", the same class for {percent(found.top1_agreement)}"
        yield (
            f"{_plain(variant.name)} against the float model on {found.inputs} inputs: cosine {found.cosine:.5f}, "
            f"relative error {found.relative_error:.2%}{agreement}. These are figures of a sample, with no bound."
        )
        return
    rates = variant.decision.evaluation
    yield f"{_plain(variant.name)} on the reported items, each rate with its exact 95% interval:\n"
    rows = [
        ("counterfeits called authentic (missed)", rate_text(rates.far)),
        ("genuine items called suspect", rate_text(rates.frr)),
        ("genuine items sent to an expert", rate_text(rates.genuine_review)),
        ("all items sent to an expert, as common as they are in this set", rate_text(rates.review)),
        ("accuracy with no abstention", rate_text(rates.accuracy)),
        ("AUC", number(rates.auc)),
    ]
    yield from _table(("metric", "value"), rows)
    if evidence.colour_baseline_auc is not None:
        yield f"\nColour statistics alone reach an AUC of {evidence.colour_baseline_auc:.3f}: a baseline, not a model."
    if evidence.listing is not None and evidence.claims is not None:
        yield f"\n{listing_text(evidence.listing, evidence.claims)}"


def _claimed(evidence: Evidence) -> Iterator[str]:
    claims, variant = evidence.claims, evidence.variant(evidence.preferred)
    if claims is None or variant.decision is None:
        yield "Nothing about decisions."
        return
    if not variant.decision.certificate.certified:
        yield (
            f"Nothing. {variant.decision.certificate.n:,} counterfeits do not prove a missed share of "
            f"{budget_text(claims.max_missed)} with {confidence_text(claims)}; "
            f"{variant.decision.certificate.more_counterfeits:,} more without a further miss would. Until then the "
            "bundle calls nothing authentic."
        )
        return
    yield from _bounds(variant.decision, claims, listing=evidence.listing is not None)
    share = counterfeits_among_accepted(variant, claims)
    if share is not None and claims.prevalence is not None:
        yield (
            f"- Of the items called authentic at most {percent(share)} are counterfeit, if "
            f"{budget_text(claims.prevalence)} of all items are: that prevalence is assumed, not measured, and another "
            "one gives another share."
        )
    yield f"\nAll of these together hold with {confidence_text(claims)}, for items drawn like the certify items."
    if evidence.cross_fitted:
        yield "Misses are pooled over cross-fitted folds as if they were one sample: this proof is an approximation."


def _bounds(found: Decision, claims: Claims, *, listing: bool) -> Iterator[str]:
    certificate, alone = found.certificate, f"at an error level of {claims.alpha_per_claim:.2%}"
    yield (
        f"- At most {budget_text(claims.max_missed)} of counterfeits are called authentic: {certificate.misses} of "
        f"n = {certificate.n:,} were, which bounds the share by {percent(certificate.upper_bound)} {alone}. A model "
        f"truly at a quarter of the budget passes such a test with a chance of {certificate.power:.0%}."
    )
    for group in found.groups:
        yield (
            f"- The same in {_plain(group.group)}: {group.misses} of n = {group.n:,}, so at most "
            f"{percent(group.upper_bound)} {alone}."
        )
    review, beside = found.review, "; by photos alone: the listing model sends more" if listing else ""
    if review is not None and review.holds and claims.prevalence is not None and claims.max_review is not None:
        yield (
            f"- At most {budget_text(claims.max_review)} of items go to an expert at an assumed prevalence of "
            f"{budget_text(claims.prevalence)}: {review.reviewed:,} of n = {review.genuine:,} genuine items did, which "
            f"bounds the share by {review.upper_bound:.1%} {alone}{beside}."
        )


def _not_claimed(evidence: Evidence) -> Iterator[str]:
    claims = evidence.claims
    yield "- Anything about items that differ from those that it was judged on."
    if claims is None:
        yield "- Any rate of errors, any bound, any confidence: outputs were compared, decisions were not."
    else:
        if counterfeits_among_accepted(evidence.variant(evidence.preferred), claims) is None:
            yield (
                "- The share of counterfeits among accepted items: it depends on how common they are, and needs a "
                "proof and an assumed prevalence."
            )
        judged = {item.group for item in evidence.reported if item.group} - set(claims.groups)
        if judged:
            yield f"- A bound of its own for each of: {_plain(', '.join(sorted(judged)[:_MOST_GROUPS]))}."
        if claims.max_review is None:
            yield "- How many items go to an expert: no review budget was given."
        yield "- The rates under Metrics: they are estimates with intervals, outside the claims' error level."
    open_ones = [one.name for one in evidence.variants if one.accepted and one.execution != "timed"]
    if open_ones:
        yield f"- The speed of {_plain(', '.join(open_ones))}: not timed on a device of their kind."


def _variants(evidence: Evidence) -> Iterator[str]:
    claims = evidence.claims
    rows = [
        (
            one.name,
            state(one, evidence.preferred),
            f"{one.target}, {one.precision}" + (f", needs {', '.join(one.isa)}" if one.isa else ""),
            megabytes(one.size_bytes),
            latency_text(one.latency),
            ratio_text(one.latency, one.name),
            kernels_text(one),
            missed_text(one, claims) if claims else f"cosine {one.fidelity.cosine:.5f}" if one.fidelity else "-",
        )
        for one in evidence.variants
    ]
    judged = "counterfeits missed" if claims else "outputs"
    header = ("variant", "state", "device", "size", "latency", "time of its baseline [95%]", "kernels", judged)
    yield from _table(header, rows)
    cascades = [(one.name, one.first) for one in evidence.variants if one.first is not None]
    if cascades:
        yield "\nCascades, two networks that decide by one score, proved as a whole:\n"
        yield from (f"- {_plain(name)}: {first_stage_text(first)}." for name, first in cascades)
    yield f"\nPreferred: {_plain(evidence.preferred)}, {_plain(evidence.preferred_because)}."
    refused = [(one.name, reason) for one in evidence.variants for reason in one.reasons if not one.accepted]
    if refused:
        yield "\nRefused, and why:\n"
        yield from (f"- {_plain(name)}: {_plain(reason)}" for name, reason in refused)


def _limits(evidence: Evidence) -> Iterator[str]:
    if evidence.claims is None:
        yield "- Outputs that are close on average may differ where it matters to you: try it on your own cases."
        yield "- A cosine says nothing of rare inputs."
        return
    decision = evidence.variant(evidence.preferred).decision
    if decision is not None and decision.regressions is not None and decision.certificate.certified:
        worse = decision.regressions
        yield (
            f"- {len(worse.items)} of n = {worse.n:,} certify counterfeits are missed by this variant and not by "
            f"float: at most {percent(worse.upper_bound)} with {worse.confidence:.0%} confidence (of this one figure)."
        )
    yield "- Counterfeiters adapt: a proof is about the counterfeits of its day, and ages."
    yield "- A model may learn the light or the camera instead of the item; compare its AUC with the colour baseline."
    yield "- Experts' answers are taken as true, in labels as in this proof."
    yield "- A certify item is spent when it was used: the next release needs others."


def _verify() -> Iterator[str]:
    yield "- `touchstone-optimize inspect BUNDLE` checks every file against the manifest, and prints this evidence."
    yield "- `touchstone-optimize report BUNDLE --out page.html` writes it as a page with all plots."
    yield "- `touchstone-optimize compare BUNDLE BUNDLE` says what changed between two releases."
    yield "- `evidence.json` holds all numbers, and the names of the certify items."
    yield "- The golden samples must give the same scores on the device that runs it; stations check that."


def _provenance(evidence: Evidence) -> Iterator[str]:
    yield from _table(("what", "value"), [(key, value[:400]) for key, value in sorted(evidence.provenance.items())])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    yield from (f"| {' | '.join(_plain(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _plain(text: str) -> str:
    """Keep names that came from outside from becoming markup: one line, no HTML, no link."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("](", "] (")
