"""What the evidence says, in words that the terminal, the page, the card and the comparison share. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optimize.evidence import Claims, FirstStageEvidence, Latency, ListingEvidence, VariantEvidence
from optimize.risk import Certificate, Rate, upper_bound

_MOST_NAMES = 6
_UNTIMED = {"untimed": "not timed on target", "unverified": "built, execution unverified"}


def certificate_text(certificate: Certificate, max_missed: float, alpha: float, what: str) -> str:
    """Say what a certificate proves, or what it would need."""
    if certificate.certified:
        return (
            f"proved   {certificate.misses} of {certificate.n} {what} missed: at most {certificate.upper_bound:.2%} at "
            f"error level {alpha:.2%} (power {certificate.power:.0%} at {max_missed / 4:.2%})"
        )
    return (
        f"NOT PROVED with {certificate.n} {what}: {certificate.more_counterfeits:,} more without a further miss are "
        f"needed for {budget_text(max_missed)}; until then everything goes to an expert"
    )


def listing_text(listing: ListingEvidence, claims: Claims) -> str:
    """Say what the listing model does, and what was proved of it on its own error level."""
    found = listing.certificate
    text = f"The listing model has an AUC of {number(listing.auc, 3)}, and sends {percent(listing.honest_review)} of "
    text += "honest listings to an expert; "
    if found.certified:
        return (
            f"{text}it missed {found.misses} of {found.n:,} frauds, so at most {percent(found.upper_bound)} with "
            f"{claims.confidence:.0%} confidence, a claim of its own."
        )
    return (
        f"{text}nothing was proved with {found.n:,} frauds, {found.more_counterfeits:,} more would be needed for a "
        f"missed share of {budget_text(claims.max_missed_fraud)}."
    )


def rate_text(found: Rate) -> str:
    """Format a rate with its interval and counts."""
    if not found.n:
        return "- (no items)"
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}] ({found.count} of {found.n})"


def percent(share: float) -> str:
    """Format a share with digits enough that a small one does not read as none."""
    if not math.isfinite(share):
        return "-"
    return f"{share:.1%}" if share == 0 or share >= 0.1 else f"{share:.2%}" if share >= 0.001 else f"{share:.4%}"


def budget_text(share: float) -> str:
    """Format a budget as it was given: 2.0%, 0.05%."""
    return f"{share:.1%}" if math.isclose(share, round(share, 3)) else f"{share * 100:.4g}%"


def number(value: float | None, digits: int = 4) -> str:
    """Format a figure that may be missing."""
    return "-" if value is None else f"{value:.{digits}f}"


def megabytes(size_bytes: int) -> str:
    """Format the size of a file; nothing was compiled where it is 0."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes else "-"


def execution_mark(variant: VariantEvidence) -> str:
    """Say what this machine cannot say of a variant's speed; empty where it was timed."""
    return _UNTIMED.get(variant.execution, "")


def state(variant: VariantEvidence, preferred: str) -> str:
    """Return a variant's state: preferred, in the bundle or refused, and its execution mark."""
    found = "preferred" if variant.name == preferred else "in the bundle" if variant.accepted else "REFUSED"
    mark = execution_mark(variant)
    return f"{found}, {mark}" if mark else found


def latency_text(found: Latency | None) -> str:
    """Say how long one photo or feed takes, or that it was not timed."""
    if found is None:
        return "not timed"
    what = "mean" if found.mean else "p50"
    return f"{what} {found.p50_us / 1000:.2f} ms, p90 {found.p90_us / 1000:.2f} ms"


def first_stage_text(first: FirstStageEvidence) -> str:
    """Say what looks first in a cascade, what it is sure of, and how many items it decides alone."""
    time = "not timed" if first.p50_us is None else f"p50 {first.p50_us / 1000:.2f} ms"
    return (
        f"a first network ({first.px} px, {first.precision}, {megabytes(first.size_bytes)}, {time}) is sure below "
        f"{first.sure_below:.4f} and from {first.sure_from:.4f}: it decides {first.decided:.1%} of the certify items "
        f"alone (genuine {rate_text(first.genuine)}, counterfeit {rate_text(first.counterfeit)}); the second one looks "
        "at the others, and counts for these alone in a photo's mean time"
    )


def ratio_text(found: Latency | None, name: str) -> str:
    """Say how a variant's time compares with its baseline's."""
    if found is None or found.baseline == name:
        return "-"
    return f"{found.ratio:.2f} [{found.ratio_low:.2f}, {found.ratio_high:.2f}] of {found.baseline}"


def kernels_text(variant: VariantEvidence) -> str:
    """Say which kernels run, and which nodes stay in float on purpose."""
    if variant.integer_kernels is None or variant.float_kernels is None:
        return "-"
    kept = f", {len(variant.excluded)} nodes kept in float" if variant.excluded else ""
    return f"{variant.integer_kernels} integer, {variant.float_kernels} float{kept}"


def missed_text(variant: VariantEvidence, claims: Claims) -> str:
    """Say how many counterfeits a variant misses, with the bound and its n and confidence."""
    if variant.decision is None:
        return "not judged"
    found = variant.decision.certificate
    if not found.certified:
        return f"not proved (n = {found.n:,})"
    return (
        f"{found.misses} of {found.n:,}; at most {percent(found.upper_bound)} "
        f"(confidence {1 - claims.alpha_per_claim:.2%})"
    )


def review_text(variant: VariantEvidence) -> str:
    """Say what goes to an expert: of the genuine certify items, and of all at the assumed prevalence."""
    if variant.decision is None:
        return "not judged"
    claim = variant.decision.review
    genuine = f"{percent(variant.decision.genuine_review)} of genuine items"
    return genuine if claim is None else f"{genuine}; {percent(claim.share)} of all, at most {claim.upper_bound:.1%}"


def counterfeits_among_accepted(variant: VariantEvidence, claims: Claims) -> float | None:
    """Bound the share of counterfeits among the items that a variant calls authentic, at the assumed prevalence.

    ``q b / (q b + (1 - q) a)`` with the budget ``b`` that was proved, and ``a`` the least share of genuine items
    accepted; both are claims of the bundle, so they hold together at its confidence. ``None`` where no
    prevalence was assumed, or nothing was proved: the share means nothing without.
    """
    decision = variant.decision
    if decision is None or decision.review is None or claims.prevalence is None or not decision.certificate.certified:
        return None
    genuine = 1 - upper_bound(decision.review.reviewed, decision.review.genuine, claims.alpha_per_claim)
    missed = claims.prevalence * claims.max_missed
    accepted = missed + (1 - claims.prevalence) * genuine
    return missed / accepted if accepted else None


def confidence_text(claims: Claims) -> str:
    """Say with what confidence the claims hold, together and each."""
    each = f"error level {claims.alpha_per_claim:.2%} each"
    return f"{claims.confidence:.0%} confidence over {claims.claims} claims ({each})"


def names_text(names: Sequence[str]) -> str:
    """Join names as one says them; a long list is cut."""
    if len(names) == 1:
        return names[0]
    if len(names) > _MOST_NAMES:
        return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"
