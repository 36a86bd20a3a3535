"""When a result may not be used, and what to do about it. Pure rules: each gives a sentence, or nothing if all is well.

A benchmark that cannot tell its own error is worthless, so in doubt a result is INVALID.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

MAX_SLOWER = 0.15
MAX_BUSY_PERCENT = 10.0
MAX_LATE_SHARE = 0.01
LATE_MS = 5.0
MIN_FREE_SHARE = 0.05

_RUN_AGAIN = "close other programs, plug the machine in, let it cool, and run again"


def too_few(counted: int, wanted: int) -> str:
    """Complain where verdicts that were wanted were not counted."""
    if counted >= wanted:
        return ""
    return f"{counted} of {wanted} verdicts were counted; read the system's log and run again"


def slowed(reference_ms: Sequence[float]) -> str:
    """Complain where the machine's speed changed: times of one fixed piece of work, before, between and after."""
    if len(reference_ms) < 2:
        return "the machine's own speed was not measured often enough; run again"
    slower = max(reference_ms) / min(reference_ms) - 1
    if slower <= MAX_SLOWER:
        return ""
    word = "slowed" if np.argmax(reference_ms) > np.argmin(reference_ms) else "sped up after it had been slower"
    return f"the machine {word} by {100 * slower:.0f} % in mid-run; {_RUN_AGAIN}"


def busy(busy_percent: float) -> str:
    """Complain where other programs were at work just before; ``busy_percent`` of all cores."""
    if busy_percent <= MAX_BUSY_PERCENT:
        return ""
    return f"other programs used {busy_percent:.0f} % of the processor before it began; {_RUN_AGAIN}"


def failed(reasons: Sequence[str]) -> str:
    """Complain about verdicts that failed or never came."""
    if not reasons:
        return ""
    more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return f"a verdict is missing: {reasons[0]}{more}; mend the system and run again"


def undecided(verdicts: Mapping[str, Iterable[str]]) -> str:
    """Complain where the same photos got different verdicts; ``verdicts`` by what was shown."""
    for shown, given in verdicts.items():
        different = sorted(set(given))
        if len(different) > 1:
            return (
                f"the same photos ({shown}) were {' and '.join(map(repr, different))}; a system that changes its mind "
                "cannot be timed: mend it and run again"
            )
    return ""


def disk_nearly_full(free_bytes: int, total_bytes: int) -> str:
    """Complain where the disk has so little room that it writes slowly, or that a station drops photos."""
    if free_bytes >= MIN_FREE_SHARE * total_bytes:
        return ""
    return f"the disk is {100 * (1 - free_bytes / total_bytes):.0f} % full; make room, or name another with --work"


def off_schedule(late_ms: Sequence[float]) -> str:
    """Complain where the suite itself sent orders late; ``late_ms`` after their scheduled arrivals."""
    late = sum(ms > LATE_MS for ms in late_ms)
    if late <= MAX_LATE_SHARE * len(late_ms):
        return ""
    return (
        f"the suite sent {late} of {len(late_ms)} orders late, the worst by {max(late_ms):.0f} ms, so they were no "
        f"fixed schedule; {_RUN_AGAIN}"
    )


def overrun(queue_most: int, slots: int) -> str:
    """Complain where more orders waited at once than there were photos, so that some were shown twice."""
    if queue_most <= slots:
        return ""
    return (
        f"{queue_most} orders waited at once, more than the {slots} photos that were there for them; the system cannot "
        "keep up with this rate: leave it out with --system"
    )


def under_the_limit(median_ms: float, limit_ms: float | None) -> str:
    """Complain where verdicts came faster than the machine can work: then its limits were not measured at its best."""
    if limit_ms is None or median_ms >= limit_ms:
        return ""
    return (
        f"the median of {median_ms:.1f} ms is under the limit of {limit_ms:.1f} ms, so the machine was slower when its "
        f"limits were measured; {_RUN_AGAIN}"
    )


def judge(*complaints: str) -> tuple[bool, str]:
    """Return whether a result is valid, and else the first complaint: what to do first."""
    why = next(filter(None, complaints), "")
    return not why, why
