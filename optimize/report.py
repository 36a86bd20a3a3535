"""A bundle's evidence in words, for a person at a terminal. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Iterator

from optimize.evidence import Claims, Decision, Evidence, VariantEvidence
from optimize.wording import (
    budget_text,
    certificate_text,
    confidence_text,
    first_stage_text,
    latency_text,
    megabytes,
    number,
    percent,
    rate_text,
    ratio_text,
    state,
)
from runtime.contracts.bundle import BundleManifest
from runtime.contracts.records import BundleId

__all__ = ["certificate_text", "describe", "headline", "rate_text"]

_MOST_ITEMS = 10


def describe(manifest: BundleManifest, bundle_id: BundleId, evidence: Evidence) -> str:
    """Return the whole story of a bundle, a few lines a variant."""
    return "\n".join(_lines(manifest, bundle_id, evidence))


def headline(evidence: Evidence) -> dict[str, float]:
    """Return the preferred variant's figures by name, for a tracker; what has no items or no time is left out."""
    variant = evidence.variant(evidence.preferred)
    figures: dict[str, float] = {}
    if variant.latency is not None:
        figures["latency_p50_us"] = variant.latency.p50_us
    if variant.first is not None:
        figures["decided_by_first_stage"] = variant.first.decided
    if variant.fidelity is not None:
        figures["cosine"] = variant.fidelity.cosine
    if variant.decision is None:
        return figures
    found = variant.decision.evaluation
    rates = {"far": found.far, "frr": found.frr, "genuine_review": found.genuine_review, "accuracy": found.accuracy}
    figures |= {name: rate.value for name, rate in rates.items() if rate.n}
    figures["missed_upper_bound"] = variant.decision.certificate.upper_bound
    return figures if found.auc is None else figures | {"auc": found.auc}


def _lines(manifest: BundleManifest, bundle_id: BundleId, evidence: Evidence) -> Iterator[str]:
    yield f"bundle {manifest.name}  {bundle_id[:16]}  built {manifest.created_at}"
    if manifest.input is not None:
        views = ", ".join(manifest.views).replace("*", "any (exchangeable)")
        yield f"  input    {manifest.input.px} px, views: {views}"
    for tensor in manifest.tensors:
        shape = ", ".join("?" if size is None else str(size) for size in tensor.shape)
        yield f"  input    {tensor.name}: {tensor.dtype} ({shape})"
    yield f"  size     {sum(entry.size for entry in manifest.files) / 1e6:.1f} MB in {len(manifest.files)} files"
    yield from _claim_lines(evidence)
    if evidence.source.parity is not None:
        parity = evidence.source.parity
        yield (
            f"  source   {evidence.source.kind}; off by at most {parity.max_abs_error:.2g} from the original on "
            f"{parity.inputs} {parity.of}"
        )
    for note in (*evidence.source.notes, *evidence.notes):
        yield f"  note     {note}"
    thresholds = {variant.name: variant.thresholds for variant in manifest.variants}
    for variant in evidence.variants:
        yield from _variant_lines(variant, evidence)
        if variant.name in thresholds and variant.decision is not None:
            chosen = thresholds[variant.name]
            yield f"    decides  authentic below {chosen.authentic_below:.4f}, suspect from {chosen.suspect_from:.4f}"
    yield f"  stations run {evidence.preferred}: {evidence.preferred_because}"
    yield from _baseline_lines(evidence)


def _claim_lines(evidence: Evidence) -> Iterator[str]:
    claims = evidence.claims
    if claims is None:
        yield (
            "  judged   by its outputs alone: it is no authenticator, decides nothing, and stations refuse it; "
            f"a cosine of {number(evidence.min_cosine, 2)} with float is needed"
        )
        return
    yield (
        f"  budget   at most {budget_text(claims.max_missed)} of counterfeits missed, with {confidence_text(claims)}"
    )
    if claims.groups:
        yield f"           the same in each of {len(claims.groups)} groups: {', '.join(claims.groups)}"
    if claims.max_review is not None and claims.prevalence is not None:
        yield (
            f"           at most {budget_text(claims.max_review)} of items to an expert, "
            f"where {claims.prevalence:.1%} of them are counterfeit"
        )
    sides = ", ".join(f"{side} {n.get('genuine', 0)} + {n.get('counterfeit', 0)}" for side, n in evidence.items.items())
    yield f"  items    genuine + counterfeit: {sides}" + (
        "; cross-fitted: each item is judged by a head that never saw it; misses are pooled over the folds, so the "
        "proof is an approximation"
        if evidence.cross_fitted
        else ""
    )


def _variant_lines(variant: VariantEvidence, evidence: Evidence) -> Iterator[str]:
    kernels = (
        ""
        if variant.integer_kernels is None
        else f", {variant.integer_kernels} integer and {variant.float_kernels} float kernels"
    )
    if variant.excluded:
        kernels += f", {len(variant.excluded)} nodes kept in float"
    yield (
        f"  {variant.name}: {state(variant, evidence.preferred)}; {variant.target}, {variant.precision}, "
        f"{megabytes(variant.size_bytes)}, {latency_text(variant.latency)}{kernels}"
    )
    if variant.first is not None:
        yield f"    cascade  {first_stage_text(variant.first)}"
    for reason in variant.reasons:
        yield f"    because  {reason}"
    passed = [gate.gate for gate in variant.gates if gate.passed]
    if passed:
        yield f"    passed   {', '.join(passed)}"
    if variant.latency is not None and variant.latency.baseline != variant.name:
        how = "mean over items" if variant.latency.mean else "medians, interleaved"
        yield f"    takes    {ratio_text(variant.latency, variant.name)} ({how})"
    if variant.fidelity is not None and evidence.judged_by == "fidelity":
        found = variant.fidelity
        yield f"    outputs  cosine {found.cosine:.5f}, relative error {found.relative_error:.2%}, n = {found.inputs}"
    if variant.decision is not None and evidence.claims is not None:
        yield from _decision_lines(variant.decision, evidence.claims)


def _decision_lines(found: Decision, claims: Claims) -> Iterator[str]:
    yield f"    {certificate_text(found.certificate, claims.max_missed, claims.alpha_per_claim, 'counterfeits')}"
    for group in found.groups:
        yield f"             {group.group}: {group.misses} of {group.n} missed: at most {group.upper_bound:.2%}"
    if found.review is not None and claims.max_review is not None and claims.prevalence is not None:
        review = found.review
        more = f"{review.more_genuine:,} more genuine items are needed" if review.more_genuine else "no number would do"
        yield (
            f"    review   {percent(review.share)} of items at a prevalence of {claims.prevalence:.1%}, "
            f"at most {review.upper_bound:.1%} on {review.genuine} genuine items: "
            + ("within the budget" if review.holds else f"NOT PROVED for {budget_text(claims.max_review)}; {more}")
        )
    if found.regressions is not None and found.certificate.certified:
        worse = found.regressions
        named = f": {', '.join(worse.items[:_MOST_ITEMS])}" if worse.items else ""
        named += f" and {len(worse.items) - _MOST_ITEMS} more" if len(worse.items) > _MOST_ITEMS else ""
        yield (
            f"    misses   {len(worse.items)} of {worse.n} counterfeits that float does not, at most "
            f"{worse.upper_bound:.2%} with {worse.confidence:.0%} confidence{named}"
        )
    rates = found.evaluation
    yield (
        f"    reports  missed {rate_text(rates.far)}, false suspects {rate_text(rates.frr)}, "
        f"genuine reviewed {rate_text(rates.genuine_review)}"
    )
    yield f"             accuracy without abstention {rate_text(rates.accuracy)}, AUC {number(rates.auc)}"


def _baseline_lines(evidence: Evidence) -> Iterator[str]:
    if evidence.colour_baseline_auc is not None:
        yield f"  colour statistics alone reach AUC {evidence.colour_baseline_auc:.3f} (a baseline, not a model)"
    if evidence.listing is not None and evidence.claims is not None:
        listing, claims = evidence.listing, evidence.claims
        reviewed = f"{listing.honest_review:.1%} of honest listings go to review"
        yield f"  listing model: AUC {number(listing.auc, 3)}; {reviewed}"
        alpha = 1 - claims.confidence
        yield f"    {certificate_text(listing.certificate, claims.max_missed_fraud, alpha, 'frauds')}"
