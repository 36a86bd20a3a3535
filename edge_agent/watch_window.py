"""Whether a release that was just swapped in may stay: counts in, verdict out. Opens no file, asks no clock.

It is compared with the release before, on this station: the share of items that it does not confirm, and the share of
scans that are slower than nearly all were before. Both are exact two-sample tests, looked at a few times at fixed
counts; the error level is divided over tests and looks. A release that is no worse on the same kind of items is thereby
taken back in at most ``FALSE_ALARMS`` of all windows. An engine that fails is no matter of chance, and is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from runtime.contracts.records import Record
from runtime.policy import model_says

FALSE_ALARMS = 0.01
MOST_FAULTS = 2
"""More failures of the engine than these within one window end it."""
LEAST_SCANS = 10
"""Time alone ends no window before so many scans."""
BASELINE_SCANS = 500
SLOWER_BY = 1.5
_LOOKS = 5
_TESTS = 2
_LEVEL = FALSE_ALARMS / (_TESTS * (_LOOKS + 1))
_SLOWEST = 100
"""One scan in so many was slower than the 99th percentile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One scan: whether what the model saw was not enough to confirm it, and its busy time a photo, microseconds."""

    unsure: bool
    look_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What the release before showed in its last scans here.

    Attributes:
        scans: how many there were.
        unsure: how many of them it did not confirm.
        slow_us: the 99th percentile of its busy time a photo, microseconds; 0 without a scan.
    """

    scans: int
    unsure: int
    slow_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Where a watch window stands, and in words why."""

    state: Literal["goes on", "passed", "failed"]
    text: str


def seen_of(record: Record) -> Seen:
    """Reduce a record to what a window looks at."""
    busy_us = sum(record.timings_us.get(step, 0) for step in ("decode", "infer", "decide"))
    photos = sum(score.logit is not None for score in record.views)
    return Seen(unsure=bool(model_says(record.reasons)), look_us=busy_us // max(1, photos))


def before_of(scans: Iterable[Seen]) -> Before:
    """Sum up the scans of the release before."""
    seen = list(scans)
    slowest = sorted((one.look_us for one in seen), reverse=True)
    return Before(
        scans=len(seen),
        unsure=sum(one.unsure for one in seen),
        slow_us=slowest[_rank(len(seen)) - 1] if seen else 0,
    )


def judge(
    before: Before, seen: Sequence[Seen], faults: int, *, scans: int, hours: float, elapsed_hours: float
) -> Judgement:
    """Judge a release by its first scans.

    Args:
        before: the release before.
        seen: the scans since the swap, oldest first.
        faults: how often the engine failed since.
        scans: as many end the window.
        hours: so many end it too, once there were ``LEAST_SCANS``.
        elapsed_hours: since the swap, by a clock that may jump.
    """
    if faults > MOST_FAULTS:
        return Judgement(state="failed", text=f"its engine failed {faults} times")
    seen = seen[:scans]
    late = elapsed_hours >= hours and len(seen) >= min(LEAST_SCANS, scans)
    looks = {math.ceil(scans * look / _LOOKS) for look in range(1, _LOOKS + 1)} | ({len(seen)} if late else set())
    for look in sorted(looks):
        worse = _worse(before, seen[:look]) if look <= len(seen) else None
        if worse is not None:
            return Judgement(state="failed", text=worse)
    if late or len(seen) == scans:
        return Judgement(state="passed", text=f"{len(seen)} scans, no worse than before")
    return Judgement(state="goes on", text=f"{len(seen)} of {scans} scans")


def _worse(before: Before, seen: Sequence[Seen]) -> str | None:
    both, unsure = before.scans + len(seen), sum(one.unsure for one in seen)
    if both == len(seen):
        return None  # nothing to compare with
    if tail(both, len(seen), before.unsure + unsure, unsure) < _LEVEL:
        return f"{unsure} of {len(seen)} items were not confirmed; before it were {before.unsure} of {before.scans}"
    bound_us = SLOWER_BY * before.slow_us
    slow = sum(one.look_us > bound_us for one in seen)
    # As likely as that among so many slowest of all, at most ``rank - 1`` are from before.
    if tail(both, len(seen), slow + _rank(before.scans) - 1, slow) < _LEVEL:
        return (
            f"{slow} of {len(seen)} scans took longer than {bound_us / 1000:.0f} ms a photo, {SLOWER_BY} times the "
            "99th percentile before"
        )
    return None


def _rank(scans: int) -> int:
    return scans // _SLOWEST + 1


def tail(total: int, marked: int, draws: int, at_least: int) -> float:
    """Return the chance that ``draws`` of ``total``, ``marked`` of them special, hold ``at_least`` special ones.

    The hypergeometric tail of Fisher's exact test (one-sided), computed in whole numbers.
    """
    hits = range(at_least, min(marked, draws) + 1)
    ways = sum(math.comb(marked, hit) * math.comb(total - marked, draws - hit) for hit in hits)
    return ways / math.comb(total, draws)
