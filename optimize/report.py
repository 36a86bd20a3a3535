"""A bundle's evidence in words, for a person at a terminal. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Iterator

from optimize.evidence import Claims, Evidence, VariantEvidence
from optimize.risk import Certificate, Rate
from runtime.contracts.bundle import BundleManifest
from runtime.contracts.records import BundleId


def describe(manifest: BundleManifest, bundle_id: BundleId, evidence: Evidence) -> str:
    """Return the whole story of a bundle, a few lines a variant."""
    return "\n".join(_lines(manifest, bundle_id, evidence))


def headline(evidence: Evidence) -> dict[str, float]:
    """Return the preferred variant's figures by name, for a tracker; what has no items is left out."""
    variant = next(variant for variant in evidence.variants if variant.name == evidence.preferred)
    found = variant.evaluation
    rates = {"far": found.far, "frr": found.frr, "genuine_review": found.genuine_review, "accuracy": found.accuracy}
    figures = {name: rate.value for name, rate in rates.items() if rate.n}
    figures |= {"missed_upper_bound": variant.certificate.upper_bound, "latency_p50_us": variant.latency_p50_us}
    return figures if found.auc is None else figures | {"auc": found.auc}


def _lines(manifest: BundleManifest, bundle_id: BundleId, evidence: Evidence) -> Iterator[str]:
    claims = evidence.claims
    yield f"bundle {manifest.name}  {bundle_id[:16]}  built {manifest.created_at}"
    yield f"  input    {manifest.input.px} px, views: {', '.join(manifest.views).replace('*', 'any (exchangeable)')}"
    yield f"  size     {sum(entry.size for entry in manifest.files) / 1e6:.1f} MB in {len(manifest.files)} files"
    yield (
        f"  budget   at most {claims.max_missed:.1%} of counterfeits missed, with {claims.confidence:.0%} confidence "
        f"over {claims.claims} claims (error level {claims.alpha_per_claim:.2%} each)"
    )
    sides = ", ".join(f"{side} {n['genuine']} + {n['counterfeit']}" for side, n in evidence.items.items())
    yield f"  items    genuine + counterfeit: {sides}" + (
        "; cross-fitted: each item is judged by a head that never saw it; misses are pooled over the folds, so the "
        "proof is an approximation"
        if evidence.cross_fitted
        else ""
    )
    thresholds = {variant.name: variant.thresholds for variant in manifest.variants}
    for variant in evidence.variants:
        yield from _variant_lines(variant, claims, variant.name == manifest.preferred)
        if variant.name in thresholds:
            chosen = thresholds[variant.name]
            yield f"    decides  authentic below {chosen.authentic_below:.4f}, suspect from {chosen.suspect_from:.4f}"
    if evidence.latency_ratio is not None and evidence.auc_change is not None:
        yield (
            f"  INT8 against float: {evidence.latency_ratio:.2f} of the latency (medians, interleaved), "
            f"AUC {evidence.auc_change:+.4f}"
        )
    if evidence.colour_baseline_auc is not None:
        yield f"  colour statistics alone reach AUC {evidence.colour_baseline_auc:.3f} (a baseline, not a model)"
    if evidence.listing is not None:
        auc = "-" if evidence.listing.auc is None else f"{evidence.listing.auc:.3f}"
        yield f"  listing model: AUC {auc}; {evidence.listing.honest_review:.1%} of honest listings go to review"
        alpha = 1 - claims.confidence
        yield f"    {certificate_text(evidence.listing.certificate, claims.max_missed_fraud, alpha, 'frauds')}"


def _variant_lines(variant: VariantEvidence, claims: Claims, preferred: bool) -> Iterator[str]:
    state = "preferred" if preferred else "in the bundle" if variant.accepted else "REFUSED"
    yield (
        f"  {variant.name}: {state}; {variant.size_bytes / 1e6:.1f} MB, p50 {variant.latency_p50_us / 1000:.2f} ms a "
        f"photo, {variant.integer_kernels} integer and {variant.float_kernels} float kernels"
    )
    for reason in variant.reasons:
        yield f"    because  {reason}"
    yield f"    {certificate_text(variant.certificate, claims.max_missed, claims.alpha_per_claim, 'counterfeits')}"
    found = variant.evaluation
    yield (
        f"    reports  missed {rate_text(found.far)}, false suspects {rate_text(found.frr)}, "
        f"genuine reviewed {rate_text(found.genuine_review)}"
    )
    auc = "-" if found.auc is None else f"{found.auc:.4f}"
    yield f"             accuracy without abstention {rate_text(found.accuracy)}, AUC {auc}"


def certificate_text(certificate: Certificate, max_missed: float, alpha: float, what: str) -> str:
    """Say what a certificate proves, or what it would need."""
    if certificate.certified:
        return (
            f"proved   {certificate.misses} of {certificate.n} {what} missed: at most {certificate.upper_bound:.2%} at "
            f"error level {alpha:.2%} (power {certificate.power:.0%} at {max_missed / 4:.2%})"
        )
    return (
        f"NOT PROVED with {certificate.n} {what}: {certificate.more_counterfeits:,} more without a further miss are "
        f"needed for {max_missed:.1%}; until then everything goes to an expert"
    )


def rate_text(found: Rate) -> str:
    """Format a rate with its interval and counts."""
    if not found.n:
        return "- (no items)"
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}] ({found.count} of {found.n})"
