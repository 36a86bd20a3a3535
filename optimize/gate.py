"""Which candidates go into a bundle, and which one stations prefer: pure, every answer with its reason in words."""

from __future__ import annotations

from dataclasses import dataclass

from optimize.quantize import NEEDED_COVERAGE, Coverage

MAX_MORE_REVIEW = 0.05
"""How much more of the genuine items the faster variant may send to review: experts cost more than milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the gates look at for one candidate; ``genuine_review`` is on the certify items."""

    name: str
    integer: bool
    coverage: Coverage
    lacks_vnni: bool
    certified: bool
    genuine_review: float


def refusals(facts: Facts) -> list[str]:
    """Return why a candidate must stay out of the bundle; an empty list admits it."""
    found = []
    if facts.integer and facts.coverage.share < NEEDED_COVERAGE:
        found.append(
            f"fusion: only {facts.coverage.integer} of {facts.coverage.integer + facts.coverage.floating} kernels run "
            f"in integers after optimisation, {NEEDED_COVERAGE:.0%} are needed"
        )
    if facts.integer and facts.lacks_vnni:
        found.append("ISA: this CPU has no VNNI, so INT8 sums saturate here; build on a CPU like the stations'")
    return found


def prefer(reference: Facts, candidate: Facts, ratio: float) -> tuple[bool, str]:
    """Tell whether a faster candidate may replace the reference on stations.

    Args:
        reference: the float variant.
        candidate: an admitted variant.
        ratio: median latency of the candidate over the reference's, interleaved.
    """
    if reference.certified and not candidate.certified:
        return False, f"keep {reference.name}: {candidate.name} does not hold the budget, {reference.name} does"
    if ratio >= 1.0:
        return False, f"keep {reference.name}: {candidate.name} takes {ratio:.2f} times as long"
    if candidate.genuine_review > reference.genuine_review + MAX_MORE_REVIEW:
        return False, (
            f"keep {reference.name}: {candidate.name} sends {candidate.genuine_review:.1%} of genuine items to review, "
            f"{reference.name} {reference.genuine_review:.1%}"
        )
    both = "holds the budget as it does" if candidate.certified else "neither of them holds the budget yet"
    return True, f"{candidate.name} takes {ratio:.2f} times as long as {reference.name}; {both}"
