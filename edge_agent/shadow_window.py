"""Whether a release that looked at the same photos beside the running one may take over. Pure: counts to verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_agent.release_facts import Shadowed
from edge_agent.watch_window import MOST_FAULTS, Judgement


def judge_shadow(seen: Shadowed, *, scans: int, max_disagree: float, max_latency_ms: float) -> Judgement:
    """Judge a release by what it decided in the shadow; it is refused as soon as it cannot pass any more.

    Args:
        seen: what it has shown.
        scans: as many are to be compared.
        max_disagree: share of them on which it may decide otherwise.
        max_latency_ms: what the 99th percentile of its busy time an item may be.
    """
    if seen.faults > MOST_FAULTS:
        return Judgement(state="failed", text=f"its engine failed {seen.faults} times in the shadow")
    if seen.differing > max_disagree * scans:
        return Judgement(
            state="failed", text=f"{shown(seen)}; at most {max_disagree:.0%} of {scans} verdicts may differ"
        )
    if seen.compared < scans:
        return Judgement(state="goes on", text=f"{seen.compared} of {scans} scans")
    if p99_ms(seen.item_us) > max_latency_ms:
        return Judgement(state="failed", text=f"{shown(seen)}; at most {max_latency_ms:.0f} ms may be")
    return Judgement(state="passed", text=shown(seen))


def shown(seen: Shadowed) -> str:
    """Put what a shadow has shown into words."""
    return (
        f"{seen.differing} of {seen.compared} verdicts differ; 99 % of items within {p99_ms(seen.item_us):.0f} ms, "
        f"{p99_ms(seen.item_us_before):.0f} ms by the running model; {seen.faults} failures, {seen.dropped} dropped"
    )


def p99_ms(values_us: Sequence[int]) -> float:
    """Return the 99th percentile (nearest rank) of microseconds, in milliseconds; 0 of nothing."""
    if not values_us:
        return 0.0
    return sorted(values_us)[math.ceil(0.99 * len(values_us)) - 1] / 1000
