"""What the story found, in words and as JSON. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np

from benchmarks.story import Figures
from optimize.evidence import Decision, Evidence
from optimize.report import certificate_text, rate_text
from runtime.contracts.errors import Unsupported


def preferred(evidence: Evidence) -> Decision:
    """Return what the variant that stations run decides.

    Raises:
        Unsupported: the bundle decides nothing.
    """
    found = evidence.variant(evidence.preferred).decision
    if found is None:
        raise Unsupported(f"variant {evidence.preferred}: expected a bundle judged by its decisions; build it again")
    return found


def int8_against_float(evidence: Evidence) -> tuple[float, float]:
    """Return what the fastest INT8 takes of its float baseline's latency, and the AUC that it gains; NaN if none."""
    timed = [
        (one.latency.ratio, one)
        for one in evidence.variants
        if one.latency is not None and one.latency.baseline != one.name and one.precision in ("int8", "mixed")
    ]
    if not timed:
        return math.nan, math.nan
    ratio, fastest = min(timed, key=lambda pair: pair[0])
    baseline = fastest.latency.baseline if fastest.latency else fastest.name
    one, other = (_auc(evidence.variant(name).decision) for name in (fastest.name, baseline))
    return ratio, one - other


def _auc(found: Decision | None) -> float:
    return math.nan if found is None or found.evaluation.auc is None else found.evaluation.auc


def ending(figures: Figures) -> str:
    """Return the readable ending."""
    return "\n".join(_lines(figures))


def _lines(figures: Figures) -> Iterator[str]:
    first, second = (preferred(evidence) for evidence in figures.evidence)
    judged = "cross-fitted by item" if figures.small else "on the evaluate items, never labelled or trained on"
    yield f"what changed from release 1 to release 2 ({judged})"
    for name, attribute in (
        ("missed (FAR)", "far"),
        ("false suspects (FRR)", "frr"),
        ("genuine reviewed", "genuine_review"),
        ("review share", "review"),
        ("accuracy", "accuracy"),
    ):
        yield f"  {name:<22}{rate_text(getattr(first.evaluation, attribute))}"
        yield f"  {'':<20}> {rate_text(getattr(second.evaluation, attribute))}"
    yield f"  {'AUC':<22}{_number(first.evaluation.auc)}  > {_number(second.evaluation.auc)}"
    for release, (evidence, decision) in enumerate(zip(figures.evidence, (first, second), strict=True), 1):
        claims = evidence.claims
        if claims is None:
            continue
        text = certificate_text(decision.certificate, claims.max_missed, claims.alpha_per_claim, "counterfeits")
        again = " (the same items as before: for comparison, no fresh proof)" if figures.small and release > 1 else ""
        yield f"  release {release} ({evidence.preferred}): {text}{again}"
    for evidence in figures.evidence[:1]:
        yield (
            f"  colour statistics alone reach AUC {_number(evidence.colour_baseline_auc)}: "
            "what lighting tells is not authentication"
        )
    yield "latency and weight"
    ratio, gained = int8_against_float(figures.evidence[-1])
    yield f"  INT8 against float     {ratio:.2f} of the latency (medians, interleaved), AUC {gained:+.4f}"
    if figures.latency is not None:
        p50, p99 = np.percentile(figures.latency.scan_ms, [50, 99])
        yield (
            f"  photo(s) to durable    p50 {p50:.0f} ms, p99 {p99:.0f} ms (n = {figures.latency.scan_ms.size}; "
            f"{figures.latency.views} 12-megapixel JPEGs of {figures.latency.photo_mb:.1f} MB an item)"
        )
    yield (
        f"  agent                  ready {figures.ready_ms:.0f} ms after its start, "
        f"{figures.resident_mb:.0f} MB resident, {figures.installed_mb:.0f} MB installed in {figures.packages} packages"
    )
    yield "nothing lost"
    yield (
        f"  {figures.scanned} scans, {figures.scanned_offline} of them with no server, {figures.swap_scans} during the "
        f"update; {figures.cases} cases, {figures.labelled} labelled"
    )
    yield "seconds per step"
    for name, taken_s in figures.steps:
        yield f"  {name:<34}{taken_s:6.1f}"
    yield f"  {'all':<34}{sum(taken for _, taken in figures.steps):6.1f}"


def figures_json(figures: Figures) -> str:
    """Return the figures for machines."""
    ratio, gained = int8_against_float(figures.evidence[-1])
    scan_ms = figures.latency.scan_ms if figures.latency else np.array([math.nan])
    return json.dumps(
        {
            "steps_s": {name: round(taken, 1) for name, taken in figures.steps},
            "latency_ratio_int8_to_float": None if math.isnan(ratio) else ratio,
            "auc_change_int8": None if math.isnan(gained) else gained,
            "auc": [preferred(evidence).evaluation.auc for evidence in figures.evidence],
            "scan_ms_p50": float(np.percentile(scan_ms, 50)),
            "scan_ms_p99": float(np.percentile(scan_ms, 99)),
            "scan_n": int(scan_ms.size),
            "agent_ready_ms": figures.ready_ms,
            "agent_resident_mb": figures.resident_mb,
            "agent_installed_mb": figures.installed_mb,
            "scans": figures.scanned,
            "cases": figures.cases,
        },
        indent=2,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
