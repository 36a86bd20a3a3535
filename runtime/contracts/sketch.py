"""Quantiles from counts: a DDSketch (Masson, Rim and Lee, VLDB 2019), whose answers are off by at most 2 %.

A sketch is a plain mapping from bucket to count, so it travels as it is, and two merge by adding. Bucket ``i`` counts
the values in (GAMMA ** (i - 1), GAMMA ** i]; whatever is 1 or less lies in bucket 0, so count in a small unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

ERROR = 0.02
"""The largest relative error of a quantile."""

GAMMA = (1 + ERROR) / (1 - ERROR)

LAST_BUCKET = 600
"""Counts everything above 2.5e10, seven hours in microseconds: a sketch never has more buckets than this and one."""

_LOG_GAMMA = math.log(GAMMA)


def bucket_of(value: float) -> int:
    """Return the bucket that counts ``value``, which is a finite number, 0 or more."""
    return 0 if value <= 1 else min(math.ceil(math.log(value) / _LOG_GAMMA), LAST_BUCKET)


def collapsed(buckets: Mapping[int, int], most: int) -> dict[int, int]:
    """Return a sketch of at most ``most`` buckets: the lowest become one, so that high quantiles stay as they are."""
    lowest_kept = sorted(buckets)[-most:][0] if buckets else 0
    kept: dict[int, int] = {}
    for bucket, count in buckets.items():
        place = max(bucket, lowest_kept)
        kept[place] = kept.get(place, 0) + count
    return kept


def quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """Return the value below which ``share`` of all values lie, within ``ERROR`` of the true one.

    Args:
        buckets: bucket to count.
        share: 0.5 for the median, 0.99 for p99.

    Returns:
        An estimate in the unit that was counted; ``None`` of an empty sketch. A value of 1 or less may be off by 1.
    """
    rank, seen = share * (sum(buckets.values()) - 1), 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen > rank:
            return 2 * GAMMA**bucket / (GAMMA + 1)  # the middle of the bucket, in relative terms
    return None
