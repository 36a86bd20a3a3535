"""Which variants go into a bundle, and which one stations prefer: pure, every answer with its reason in words.

A gate that could not be evaluated has failed. Cheap gates come before dear ones; the first refusal ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optimize.evidence import Decision, Fidelity, FirstStageEvidence, Gate, Latency, VariantEvidence
from optimize.kernels import NEEDED_COVERAGE, Coverage

MAX_MORE_REVIEW = 0.05
"""How much more of the genuine items the faster variant may send to review: experts cost more than milliseconds."""

NEEDED_COSINE = {"float32": 0.9999, "fp16": 0.999, "bf16": 0.99, "int8": 0.9, "mixed": 0.9}
"""Least cosine of a variant's outputs with the float model's, by precision: below it, it is another model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimit:
    """The most bytes that a variant may have; ``baseline_bytes`` of the float variant, which INT8 must not exceed."""

    max_bytes: int | None
    baseline_bytes: int | None


def parity(found: Fidelity | None, precision: str, refusal: str | None) -> Gate:
    """Judge whether a variant is still the same model."""
    if found is None:
        return Gate(gate="parity", passed=False, reason=refusal or "the variant could not be run on this machine")
    needed = NEEDED_COSINE[precision]
    figures = (
        f"cosine {found.cosine:.5f} with float on {found.inputs} inputs, relative error {found.relative_error:.2%}"
    )
    if not found.cosine >= needed:  # NaN has failed too
        return Gate(gate="parity", passed=False, reason=f"{figures}; {precision} needs a cosine of {needed}")
    return Gate(gate="parity", passed=True, reason=figures)


def fusion(found: Coverage | None, precision: str) -> Gate | None:
    """Judge whether an INT8 variant really runs in integers; ``None`` where there is nothing to run in integers."""
    if precision not in ("int8", "mixed"):
        return None
    if found is None:
        return Gate(gate="fusion", passed=False, reason="the engine does not tell which kernels it runs")
    meant = found.integer + found.floating - found.excluded
    figures = f"{found.integer} of {meant} kernels run in integers after optimisation"
    if found.excluded:
        figures += f", {found.excluded} more stay in float on purpose"
    if meant <= 0 or found.share < NEEDED_COVERAGE:
        return Gate(gate="fusion", passed=False, reason=f"only {figures}; {NEEDED_COVERAGE:.0%} are needed")
    return Gate(gate="fusion", passed=True, reason=figures)


def size(size_bytes: int, limit: SizeLimit) -> Gate:
    """Judge the bytes that a device must fetch."""
    if limit.max_bytes is not None and size_bytes > limit.max_bytes:
        reason = f"{size_bytes / 1e6:.1f} MB, at most {limit.max_bytes / 1e6:.1f} MB were allowed"
        return Gate(gate="size", passed=False, reason=reason)
    if limit.baseline_bytes is not None and size_bytes > limit.baseline_bytes:
        reason = f"{size_bytes / 1e6:.1f} MB is more than the float variant's {limit.baseline_bytes / 1e6:.1f} MB"
        return Gate(gate="size", passed=False, reason=reason)
    return Gate(gate="size", passed=True, reason=f"{size_bytes / 1e6:.1f} MB")


def latency(found: Latency | None, execution: str, baseline: str | None) -> Gate:
    """Judge against the float variant of the same engine, by the lower end of the interval.

    Args:
        found: what was timed, if anything.
        execution: of the slot.
        baseline: the variant that it must not be slower than; ``None`` for that one itself.
    """
    if execution != "timed":
        words = {"untimed": "not timed on target", "unverified": "built, execution unverified"}
        return Gate(
            gate="latency", passed=True, reason=f"{words[execution]}; it claims no speed and is never preferred"
        )
    if found is None:
        return Gate(gate="latency", passed=False, reason="it could not be timed on this machine")
    if baseline is None:
        return Gate(gate="latency", passed=True, reason="it is the baseline of its engine")
    if found.baseline != baseline:
        reason = f"{baseline} could not be timed, so nobody knows whether this is slower"
        return Gate(gate="latency", passed=False, reason=reason)
    interval = f"{found.ratio:.2f} [{found.ratio_low:.2f}, {found.ratio_high:.2f}] times as long as {found.baseline}"
    if found.ratio_low > 1.0:
        return Gate(gate="latency", passed=False, reason=f"it takes {interval}: keep float")
    return Gate(gate="latency", passed=True, reason=f"it takes {interval}")


def mean_latency(found: Latency | None, first: FirstStageEvidence) -> Gate:
    """Judge a cascade against its second stage alone, by the lower end of the interval."""
    decides = f"the first stage decides {first.decided:.1%} of items alone"
    if found is None:
        return Gate(gate="latency", passed=True, reason=f"{decides}; not timed on target, so it claims no speed")
    interval = f"{found.ratio:.2f} [{found.ratio_low:.2f}, {found.ratio_high:.2f}] times as long as {found.baseline}"
    if found.ratio_low > 1.0:
        reason = f"{decides}, so a photo takes {interval} on average: keep the second stage alone"
        return Gate(gate="latency", passed=False, reason=reason)
    return Gate(gate="latency", passed=True, reason=f"{decides}, so a photo takes {interval} on average")


def risk(found: Decision, max_missed: float) -> Gate:
    """Judge whether the budget holds on items that chose nothing."""
    certificate = found.certificate
    if not certificate.certified:
        reason = (
            f"not proved with {certificate.n} counterfeits; needed for {max_missed:g}: "
            f"{certificate.more_counterfeits:,} more counterfeit items without a further miss"
        )
        return Gate(gate="risk", passed=False, reason=reason)
    reason = f"{certificate.misses} of {certificate.n} counterfeits missed: at most {certificate.upper_bound:.2%}"
    for group in found.groups:
        reason += f"; {group.group}: {group.misses} of {group.n}, at most {group.upper_bound:.2%}"
    return Gate(gate="risk", passed=True, reason=reason)


def review(found: Decision, max_review: float, prevalence: float) -> Gate:
    """Judge whether experts can keep up at the assumed prevalence."""
    claim = found.review
    assumed = f"at a prevalence of {prevalence:.1%}"
    if claim is None:
        return Gate(gate="review", passed=False, reason=f"it could not be evaluated {assumed}")
    figures = f"{claim.share:.1%} of items go to review for their photos {assumed}, at most {claim.upper_bound:.1%}"
    if claim.holds:
        return Gate(gate="review", passed=True, reason=figures)
    needs = (
        f"{claim.more_genuine:,} more genuine items would prove {max_review:.1%} at this rate"
        if claim.more_genuine
        else f"no number of items proves {max_review:.1%} at this rate"
    )
    return Gate(gate="review", passed=False, reason=f"{figures}; {needs}")


def fidelity(found: Fidelity | None, min_cosine: float, refusal: str | None = None) -> Gate:
    """Judge a model that is no authenticator by its outputs alone; ``refusal`` says why nothing was found."""
    if found is None:
        reason = refusal or "its outputs could not be compared on this machine"
        return Gate(gate="fidelity", passed=False, reason=reason)
    agreement = "" if found.top1_agreement is None else f", same class for {found.top1_agreement:.1%}"
    figures = f"cosine {found.cosine:.4f} with float on {found.inputs} inputs{agreement}"
    passed = found.cosine >= min_cosine
    return Gate(gate="fidelity", passed=passed, reason=figures if passed else f"{figures}; {min_cosine} is needed")


def accepted(variants: Sequence[VariantEvidence]) -> dict[str, bool]:
    """Decide who ships: all whose every gate passed; if the budget is proved for nobody, all that only lack the proof.

    Those decide nothing: their thresholds send every item to an expert, whose labels then make the proof.
    """
    clean = {one.name: all(gate.passed for gate in one.gates) for one in variants}
    if any(clean[one.name] for one in variants):
        return clean
    unproved = {one.name: all(gate.passed or gate.gate == "risk" for gate in one.gates) for one in variants}
    return {one.name: unproved[one.name] and one.decision is not None for one in variants}


def prefer(variants: Sequence[VariantEvidence], runnable: Sequence[str]) -> tuple[str, str]:
    """Choose what stations run, among accepted variants: the fastest that was timed and does not flood the experts.

    Args:
        variants: accepted ones, at least one.
        runnable: names of those that this machine runs as a station would.

    Returns:
        Its name, and why.
    """
    timed = [one for one in variants if one.execution == "timed" and one.latency is not None and one.name in runnable]
    if not timed:
        return variants[0].name, "nothing in the bundle could be timed on this machine; stations choose for themselves"
    least = min(_reviewed(one) for one in timed)
    eligible = [one for one in timed if _reviewed(one) <= least + MAX_MORE_REVIEW]
    best = min(eligible, key=lambda one: one.latency.p50_us if one.latency else 0.0)
    assert best.latency is not None
    average = " on average" if best.latency.mean else ""
    reason = (
        f"fastest of {len(timed)}: {best.latency.p50_us / 1000:.2f} ms a photo{average}, {best.latency.ratio:.2f} of "
    )
    reason += f"{best.latency.baseline}"
    passed_over = [
        f"{one.name} sends {_reviewed(one):.1%} of genuine items to review, {best.name} {_reviewed(best):.1%}"
        for one in timed
        if one not in eligible
    ]
    return best.name, "; ".join([reason, *passed_over])


def _reviewed(one: VariantEvidence) -> float:
    return one.decision.genuine_review if one.decision else 0.0
