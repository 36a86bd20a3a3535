"""How many bytes of photos and telemetry may go to the server now: hours of the day, and bytes an hour. Pure decisions.

Urgent photos (suspect, uncertain, objected) go at any hour, within the bytes of that hour. Hours of traffic are those
of the clock, so one that jumps costs or gives away an hour at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edge_agent.hours import Hours

SMALLEST_PIECE_BYTES = 64 * 1024
"""Less than this is left for the next hour: a request has a price of its own."""

HOUR_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """What a person allows: ``bytes_per_hour`` (0: no limit), within ``hours`` (None: always)."""

    bytes_per_hour: int = 0
    hours: Hours | None = None

    @property
    def is_free(self) -> bool:
        """Whether everything may go at any time."""
        return self.bytes_per_hour == 0 and self.hours is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How many bytes may go now (None: any number), and in how many seconds it is worth looking again (0: now)."""

    bytes: int | None
    look_again_s: float


def hour_of(now_s: float) -> int:
    """Return the hour of a moment (seconds since 1970), counted since 1970."""
    return int(now_s // HOUR_S)


def allowance(bandwidth: Bandwidth, *, at: datetime, spent_bytes: int, urgent: bool) -> Allowance:
    """Return what may go at a moment.

    Args:
        bandwidth: what a person allows.
        at: the moment, in the station's time zone.
        spent_bytes: how many bytes went in this hour already.
        urgent: of a case that waits for nothing but the hour's bytes.
    """
    if bandwidth.hours is not None and not urgent:
        opens_in_s = bandwidth.hours.opens_in_s(at)
        if opens_in_s > 0:
            return Allowance(bytes=0, look_again_s=opens_in_s)
    if bandwidth.bytes_per_hour == 0:
        return Allowance(bytes=None, look_again_s=0.0)
    left = bandwidth.bytes_per_hour - spent_bytes
    if left < min(SMALLEST_PIECE_BYTES, bandwidth.bytes_per_hour):
        return Allowance(bytes=0, look_again_s=HOUR_S - at.timestamp() % HOUR_S)
    return Allowance(bytes=left, look_again_s=0.0)


def piece_bytes(allowed: Allowance, wanted_bytes: int, *, whole: bool, spent_bytes: int) -> int:
    """Return how many of ``wanted_bytes`` go now.

    Args:
        allowed: what may go.
        wanted_bytes: more than 0.
        whole: all of them or none. What is larger than a whole hour's bytes goes when nothing else has in this hour:
            otherwise it never would.
        spent_bytes: how many bytes went in this hour already.
    """
    if allowed.bytes is None or allowed.bytes >= wanted_bytes:
        return wanted_bytes
    if not whole:
        return allowed.bytes
    return wanted_bytes if allowed.bytes > 0 and spent_bytes == 0 else 0
