"""What a bundle is, what was proved of it and what is lacking: three sentences that an auditor reads first.

Says no more than the evidence: a bound comes with its n and its confidence, and where nothing was proved it says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from optimize.evidence import Claims, Decision, Evidence
from optimize.wording import budget_text, confidence_text, names_text, number, percent


def what_it_is(name: str, evidence: Evidence) -> str:
    """Return the first sentence: what the bundle is, and which variant stations run."""
    inside = [one for one in evidence.variants if one.accepted]
    targets = names_text(sorted({one.target for one in inside}))
    kind = (
        "calls items authentic, suspect or uncertain by their photos, and sends all but authentic ones to an expert"
        if evidence.judged_by == "risk"
        else "is no authenticator: it decides nothing, only its outputs were compared with the float model's"
    )
    chosen = evidence.variant(evidence.preferred)
    two = f", which asks a second network about {1 - chosen.first.decided:.0%} of items" if chosen.first else ""
    return (
        f"{name} {kind}; {len(inside)} of the {len(evidence.variants)} variants that were compiled or tried are in the "
        f"bundle (for {targets}), and {evidence.preferred}{two} is preferred: {evidence.preferred_because}."
    )


def what_was_proved(evidence: Evidence) -> str:
    """Return the second sentence: the claim with its n and confidence, or that there is none."""
    variant, claims = evidence.variant(evidence.preferred), evidence.claims
    if claims is None or variant.decision is None:
        found = variant.fidelity
        if found is None:
            return "Nothing was proved: the preferred variant's outputs could not be compared on this machine."
        return (
            f"Nothing was proved about decisions: on {found.inputs} inputs the outputs of {variant.name} have a cosine "
            f"of {found.cosine:.4f} with the float model's (at least {number(evidence.min_cosine, 2)} was asked for), "
            "a comparison and no bound with a confidence."
        )
    certificate = variant.decision.certificate
    if not certificate.certified:
        return (
            f"Nothing was proved: {certificate.n:,} counterfeits that chose nothing do not show a missed rate of at "
            f"most {budget_text(claims.max_missed)} with {confidence_text(claims)}, so this bundle calls nothing "
            "authentic, and every item goes to an expert."
        )
    return (
        f"It was proved on {certificate.n:,} counterfeits that chose nothing, {certificate.misses} of which "
        f"{variant.name} called authentic, that at most {budget_text(claims.max_missed)} of counterfeits like them "
        f"pass, with {confidence_text(claims)}; its own bound is {percent(certificate.upper_bound)}"
        f"{_more_proofs(variant.decision, claims, listing=evidence.listing is not None)}{_approximation(evidence)}."
    )


def what_is_needed(evidence: Evidence) -> str:
    """Return the third sentence: what the claims would still need."""
    wanted = list(needs(evidence))
    always = (
        "a claim of a later release needs counterfeits that this one has not spent"
        if evidence.judged_by == "risk"
        else "a claim about decisions needs labelled items of both classes"
    )
    return f"It would still need {'; '.join(wanted)}; and {always}." if wanted else f"Nothing is open; {always}."


def needs(evidence: Evidence) -> Iterator[str]:
    """Yield what the bundle's claims would still need, the most important first."""
    claims = evidence.claims
    decided = [one for one in evidence.variants if one.decision is not None]
    if claims is not None:
        more = {one.name: one.decision.certificate.more_counterfeits for one in decided if one.decision}
        if any(more.values()):
            least = min(count for count in more.values() if count)
            yield (
                f"{least:,} or more further counterfeits without a miss, to prove the budget for "
                f"{names_text([name for name, count in more.items() if count])}"
            )
        genuine = {
            one.name: one.decision.review.more_genuine for one in decided if one.decision and one.decision.review
        }
        if any(genuine.values()):
            least = min(count for count in genuine.values() if count)
            yield f"{least:,} or more further genuine items, to prove the review budget for " + names_text(
                [name for name, count in genuine.items() if count]
            )
        small = sorted({item.group for item in evidence.reported if item.group} - set(claims.groups))
        if claims.groups and small:
            yield f"more counterfeits of {names_text(small)}, which have no claim of their own"
    for execution, text in (
        ("untimed", "timing on a device of its kind for {}"),
        ("unverified", "a first run on a device of its kind for {}"),
    ):
        names = [one.name for one in evidence.variants if one.accepted and one.execution == execution]
        if names:
            yield text.format(names_text(names))


def _more_proofs(found: Decision, claims: Claims, *, listing: bool) -> str:
    text = f", and the same budget holds in {names_text(claims.groups)}" if found.groups else ""
    review = found.review
    if review is None or claims.max_review is None or claims.prevalence is None:
        return text
    if not review.holds:
        return f"{text}; the review budget of {budget_text(claims.max_review)} was not proved"
    return (
        f"{text}; at most {budget_text(claims.max_review)} of items, at a prevalence of "
        f"{budget_text(claims.prevalence)}, go to an expert{' by their photos' if listing else ''} "
        f"(n = {review.genuine:,} genuine items)"
    )


def _approximation(evidence: Evidence) -> str:
    return (
        "; misses were pooled over cross-fitted folds, so this proof is an approximation"
        if evidence.cross_fitted
        else ""
    )
