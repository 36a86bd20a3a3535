"""What only one scenario has, out of what was taken. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.latency.load import Taken
from benchmarks.latency.scenarios import Phase

SETTLED_AFTER = 500
"""Scans after which a station's memory should not grow any more."""
_LAST, _POINTS = 100, 40
_RECOVERED, _IN_A_ROW = 2.0, 3


def offline(taken: Sequence[Taken], views: int) -> dict[str, float]:
    """Return the throughput."""
    per_s = 1000 * len(taken) / sum(one.latency_ms for one in taken)
    return {"verdicts_per_s": per_s, "photos_per_s": per_s * views}


def surge(taken: Sequence[Taken], phases: Sequence[Phase]) -> dict[str, float]:
    """Return what queued and what recovered.

    ``recovered_s`` is from the last arrival of the surge to the first of three in a row whose latency is under twice
    the median before: what is slow after that has another cause. It is absent where that did not happen.
    """
    before, during = phases[0].count, phases[0].count + phases[1].count
    calm_ms = statistics.median(one.latency_ms for one in taken[:before])
    found = {
        "queue_most": float(queue_most(taken)),
        "before_p50_ms": calm_ms,
        "surge_p50_ms": statistics.median(one.latency_ms for one in taken[before:during]),
        "surge_slowest_ms": max(one.latency_ms for one in taken[before:during]),
    }
    after = taken[during:]
    for first in range(len(after) - _IN_A_ROW + 1):
        if all(one.latency_ms <= _RECOVERED * calm_ms for one in after[first : first + _IN_A_ROW]):
            found["recovered_s"] = after[first].at_s - taken[during - 1].at_s
            break
    return found


def queue_most(taken: Sequence[Taken]) -> int:
    """Return the most verdicts that were ever due and not there yet."""
    events = [(one.at_s, 1) for one in taken] + [(one.at_s + one.latency_ms / 1000, -1) for one in taken]
    most = waiting = 0
    for _, step in sorted(events):
        waiting += step
        most = max(most, waiting)
    return most


def soak(taken: Sequence[Taken]) -> dict[str, float]:
    """Return resident memory after settling and at the end (medians), the growth between, and its course."""
    settled = min(SETTLED_AFTER, len(taken) // 2)
    width = min(_LAST, len(taken) - settled)
    start_mb = statistics.median(one.reply.rss_mb for one in taken[settled : settled + width])
    end_mb = statistics.median(one.reply.rss_mb for one in taken[-width:])
    course = {
        f"rss_mb_at_{index + 1}": taken[index].reply.rss_mb
        for index in range(0, len(taken), max(1, len(taken) // _POINTS))
    }
    return {
        "settled_after": float(settled),
        "settled_rss_mb": start_mb,
        "end_rss_mb": end_mb,
        "growth_mb": end_mb - start_mb,
        **course,
    }
